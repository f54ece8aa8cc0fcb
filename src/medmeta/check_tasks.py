"""Easy synthetic tasks of any input shape, to check learners on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Target, any_tensor
from medmeta.errors import SettingsError
from medmeta.learner import Traits

SMALL = {
    "vector": InputSpec(16, ()),
    "signal": InputSpec(1, (64,)),
    "image": InputSpec(3, (16, 16)),
    "volume": InputSpec(1, (16, 16, 16)),
    "mapping": InputSpec.of_parts(image=InputSpec(3, (16, 16)), record=InputSpec(4, ())),
}


def input_spec_for(traits: Traits) -> InputSpec:
    """A small input of the first kind that a learner takes."""
    for kind, spec in SMALL.items():
        if kind in traits.input_kinds:
            return spec
    raise SettingsError(f"say input_spec: no small input is known for {set(traits.input_kinds)}.")


def default_target(traits: Traits, n_way: int) -> Target:
    """Classes, or else masks, at most as many as a learner takes, or else one value.

    Raises ``SettingsError`` where it takes neither.

    >>> default_target(Traits(max_way=2), 3)
    Target(kind='classes', size=2)
    """
    if "classes" in traits.targets:
        return Target("classes", min(n_way, traits.max_way or n_way))
    if "masks" in traits.targets:
        return Target("masks", min(n_way, traits.max_way or n_way))
    if "values" in traits.targets:
        return Target("values", 1)
    raise SettingsError(
        f"no easy tasks are known for {' and '.join(sorted(traits.targets))}; a learner can be "
        "checked on classes, on masks and on values."
    )


@dataclass(frozen=True)
class TaskMaker:
    """Makes tasks: each class has a pattern of its own, each image is it with noise.

    For values, an image is one pattern times the value, which is drawn between -1 and 1. For masks,
    each structure has a colour of its own, and fills quarters of an image that are drawn for it.
    """

    input_spec: InputSpec
    target: Target

    def episode(
        self, n_tasks: int, *, n_shot: int, n_query: int, seed: int, noise: float = 0.5
    ) -> Episode:
        """``n_tasks`` tasks with ``n_shot`` support and ``n_query`` query images per class."""
        if self.input_spec.parts:
            return self._of_parts(n_tasks, n_shot=n_shot, n_query=n_query, seed=seed, noise=noise)
        random = torch.Generator().manual_seed(seed)
        if self.target.kind == "masks":
            return self._of_masks(n_tasks, n_shot, n_query, seed, noise)
        n_patterns = self.target.size if self.target.kind == "classes" else 1
        patterns = self._patterns(n_tasks, n_patterns, random)
        values = torch.Generator().manual_seed(seed + 7919)
        return Episode(
            self._labelled(patterns, n_shot, noise, random, values, first_id=100 * seed),
            self._labelled(patterns, n_query, noise, random, values, first_id=100 * seed),
            self.target,
        )

    def _of_parts(
        self, n_tasks: int, *, n_shot: int, n_query: int, seed: int, noise: float
    ) -> Episode:
        """The parts of a mapping, each with patterns of its own, and the labels that they share.

        (Values are drawn apart from the patterns, by the seed: they too are those of every part.)
        """
        episodes = {
            name: TaskMaker(part, self.target).episode(
                n_tasks, n_shot=n_shot, n_query=n_query, seed=seed, noise=noise
            )
            for name, part in self.input_spec.parts
        }
        first = next(iter(episodes.values()))
        support = {name: any_tensor(one.support.inputs) for name, one in episodes.items()}
        query = {name: any_tensor(one.query.inputs) for name, one in episodes.items()}
        return Episode(
            first.support.with_inputs(support), first.query.with_inputs(query), self.target
        )

    def _of_masks(
        self, n_tasks: int, n_shot: int, n_query: int, seed: int, noise: float
    ) -> Episode:
        random = torch.Generator().manual_seed(seed)
        colours = torch.randn(n_tasks, self.target.size, self.input_spec.channels, generator=random)
        colours = 2 * torch.nn.functional.normalize(colours, dim=-1)
        return Episode(
            self._marked(colours, n_shot * self.target.size, noise, random, first_id=100 * seed),
            self._marked(colours, n_query, noise, random, first_id=100 * seed),
            self.target,
        )

    def _marked(
        self, colours: Tensor, n: int, noise: float, random: torch.Generator, *, first_id: int
    ) -> LabelledSet:
        """``n`` images of each task, of patches that are each of one structure."""
        n_tasks, size = len(colours), self.input_spec.size
        coarse = torch.randint(
            self.target.size, (n_tasks * n, 1, *[4] * len(size)), generator=random
        )
        fine = torch.nn.functional.interpolate(coarse.float(), size=size, mode="nearest")
        labels = fine.long().reshape(n_tasks, n, *size)
        tasks = torch.arange(n_tasks).reshape(-1, 1, *[1] * len(size))
        images = colours[tasks, labels].movedim(-1, 2)
        images = images + noise * torch.randn(images.shape, generator=random)
        return LabelledSet(images, labels, torch.arange(first_id, first_id + n_tasks))

    def _patterns(self, n_tasks: int, n_patterns: int, random: torch.Generator) -> Tensor:
        """Coarse patterns ``(T, N, C, *space)``, so that also a convolution sees them."""
        spec = self.input_spec
        coarse = torch.randn(n_tasks * n_patterns, spec.channels, generator=random)
        if not spec.size:
            return coarse.reshape(n_tasks, n_patterns, spec.channels)
        grid = torch.randn(
            n_tasks * n_patterns, spec.channels, *[4] * len(spec.size), generator=random
        )
        fine = torch.nn.functional.interpolate(grid, size=spec.size, mode="nearest")
        shape = (-1, spec.channels, *[1] * len(spec.size))
        return (fine + coarse.reshape(shape)).reshape(n_tasks, n_patterns, *spec.shape)

    def _labelled(
        self,
        patterns: Tensor,
        n: int,
        noise: float,
        random: torch.Generator,
        drawn: torch.Generator,
        *,
        first_id: int,
    ) -> LabelledSet:
        n_tasks, n_patterns = patterns.shape[:2]
        task_ids = torch.arange(first_id, first_id + n_tasks)
        if self.target.kind == "values":
            n = max(4 * n, 8)
            values = 2 * torch.rand(n_tasks, n, self.target.size, generator=drawn) - 1
            weight = values.sum(-1).reshape(n_tasks, n, *[1] * (patterns.ndim - 2))
            clean, labels = patterns[:, 0][:, None] * weight, values
        else:
            clean = patterns.repeat_interleave(n, dim=1)
            labels = torch.arange(n_patterns).repeat_interleave(n).repeat(n_tasks, 1)
        return LabelledSet(
            clean + noise * torch.randn(clean.shape, generator=random), labels, task_ids
        )
