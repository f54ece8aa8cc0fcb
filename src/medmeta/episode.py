"""The words that everything else is said in: inputs, targets, labelled sets, episodes.

Dimensions always stand in this order: ``T`` tasks, ``S`` support or ``Q`` query images, ``C``
channels, then space (``H W``, ``D H W``, or one axis for a signal).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

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

    ``size`` is empty for a vector (an embedding), one number for a signal, two for an image
    (height, width) and three for a volume.

    >>> InputSpec(3, (64, 64)).kind
    'image'
    """

    channels: int
    size: tuple[int, ...]

    @property
    def kind(self) -> str:
        """``vector``, ``signal``, ``image`` or ``volume``."""
        return ("vector", "signal", "image", "volume")[len(self.size)]

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
    """

    inputs: Inputs
    labels: Tensor
    task_ids: Tensor

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


def any_tensor(inputs: Inputs) -> Tensor:
    """The tensor, or the first of a mapping: its first axes and its device speak for all."""
    return inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
