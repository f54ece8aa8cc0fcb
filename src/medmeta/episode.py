"""The words that everything else is said in: inputs, targets, labelled sets, episodes.

Dimensions always stand in this order: ``T`` tasks, ``S`` support or ``Q`` query images, ``C``
channels, then space (``H W``, ``D H W``, or one axis for a signal).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Inputs = Tensor | Mapping[str, Tensor]
"""``(T, S, C, *space)``, or a mapping of named tensors whose first axes are ``T, S``."""

Predictor = Callable[[Inputs], Tensor]
"""Inputs ``(T, Q, ...)`` to logits or values ``(T, Q, target.size, *space)``."""

TargetKind = Literal["classes", "masks", "values"]


@dataclass(frozen=True)
class Target:
    """What a task asks for.

    ``size`` is the number of classes (``n_way``), of structures with the background first, or of
    values per image.

    >>> Target("classes", 5).size
    5
    """

    kind: TargetKind
    size: int


@dataclass(frozen=True)
class InputSpec:
    """Shape of one input, without the task and image axes: ``channels`` and the size of ``space``.

    ``size`` is empty for a vector (an embedding, a record), one number for a signal, two for an
    image (height, width) and three for a volume. ``parts`` are those of a mapping of named
    tensors, in their order; ``channels`` and ``size`` then say nothing.

    >>> InputSpec(3, (64, 64)).kind
    'image'
    >>> InputSpec.of_parts(image=InputSpec(3, (64, 64)), record=InputSpec(5, ())).kind
    'mapping'
    """

    channels: int
    size: tuple[int, ...]
    parts: tuple[tuple[str, InputSpec], ...] = ()

    @classmethod
    def of_parts(cls, **parts: InputSpec) -> InputSpec:
        """A mapping of named tensors."""
        return cls(0, (), tuple(parts.items()))

    @property
    def kind(self) -> str:
        """``vector``, ``signal``, ``image``, ``volume``, or ``mapping``."""
        if self.parts:
            return "mapping"
        return ("vector", "signal", "image", "volume")[len(self.size)]

    def part(self, name: str) -> InputSpec | None:
        """A named part of a mapping, or None where it has none of that name."""
        return dict(self.parts).get(name)

    def blank(self, *lead: int) -> Inputs:
        """Zeros of this shape, with first axes ``lead``."""
        if self.parts:
            return {name: torch.zeros(*lead, *part.shape) for name, part in self.parts}
        return torch.zeros(*lead, *self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(C, *space)``."""
        return (self.channels, *self.size)


@dataclass(frozen=True)
class LabelledSet:
    """Inputs with their labels, for ``T`` tasks.

    ``labels`` are int64 ``(T, S)`` classes in ``[0, n_way)``, int64 ``(T, S, *space)`` masks with
    -1 where a pixel is not labelled, or float32 ``(T, S, size)`` values. ``task_ids`` ``(T,)``
    name the draw each task is: a learner that needs chance seeds itself from it, per task.
    ``groups`` int64 ``(T, S)``: images of one patient (or of one picture) share a number; None
    where that is not known. Learners that hold images out within a task part no group.
    """

    inputs: Inputs
    labels: Tensor
    task_ids: Tensor
    groups: Tensor | None = None

    @property
    def n_tasks(self) -> int:
        """Number of tasks ``T``."""
        return int(self.labels.shape[0])

    @property
    def n_examples(self) -> int:
        """Number of images per task ``S``."""
        return int(self.labels.shape[1])

    def tasks(self, first: int, last: int) -> LabelledSet:
        """Tasks ``first`` to ``last - 1``, as views."""
        return LabelledSet(
            map_inputs(lambda x: x[first:last], self.inputs),
            self.labels[first:last],
            self.task_ids[first:last],
            None if self.groups is None else self.groups[first:last],
        )

    def images(self, chosen: Tensor) -> LabelledSet:
        """The images ``chosen`` ``(n,)`` of every task, in that order."""
        return LabelledSet(
            map_inputs(lambda x: x[:, chosen], self.inputs),
            self.labels[:, chosen],
            self.task_ids,
            None if self.groups is None else self.groups[:, chosen],
        )

    def with_inputs(self, inputs: Inputs) -> LabelledSet:
        """The same labels with other inputs (embeddings in place of images)."""
        return replace(self, inputs=inputs)


@dataclass(frozen=True)
class Episode:
    """A batch of ``T`` tasks of one shape, each with its support and its query."""

    support: LabelledSet
    query: LabelledSet
    target: Target

    def tasks(self, first: int, last: int) -> Episode:
        """Tasks ``first`` to ``last - 1``, as views."""
        return Episode(self.support.tasks(first, last), self.query.tasks(first, last), self.target)


def map_inputs(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """``function`` of the tensor, or of each tensor of a mapping.

    >>> import torch
    >>> map_inputs(lambda x: x + 1, {"t1": torch.zeros(1)})["t1"].item()
    1.0
    """
    if isinstance(inputs, Tensor):
        return function(inputs)
    return {name: function(value) for name, value in inputs.items()}


def joined_inputs(first: Inputs, second: Inputs, *, dim: int = 1) -> Inputs:
    """Two sets of inputs of one kind, one after the other along an axis.

    >>> joined_inputs(torch.zeros(1, 2, 4), torch.ones(1, 3, 4)).shape
    torch.Size([1, 5, 4])
    """
    if isinstance(first, Tensor):
        return torch.cat([first, any_tensor(second)], dim=dim)
    assert not isinstance(second, Tensor)
    return {name: torch.cat([value, second[name]], dim=dim) for name, value in first.items()}


def some_of(inputs: Inputs, chosen: Tensor) -> Inputs:
    """Those of one task's inputs ``(S, ...)`` that ``chosen`` ``(n,)`` names.

    >>> some_of({"record": torch.arange(3)}, torch.tensor([2, 0]))["record"]
    tensor([2, 0])
    """
    return map_inputs(lambda x: x[chosen], inputs)


def any_tensor(inputs: Inputs) -> Tensor:
    """The tensor, or the first of a mapping: its first axes and its device speak for all."""
    return inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
