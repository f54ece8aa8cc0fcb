"""Filling drawn tasks with what learners take: batches of one shape, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.data.preprocess import as_float
from medmeta.episode import Episode, Inputs, LabelledSet, Target, map_inputs
from medmeta.episodes.alterations import (
    Alterations,
    apply_alterations,
    draw_alterations,
    moved_masks,
)
from medmeta.episodes.augmentation import (
    Augment,
    Changes,
    apply_changes,
    draw_changes,
    is_colour,
    mirrored_masks,
)
from medmeta.episodes.modality_table import allowed_of, allowed_of_signals
from medmeta.episodes.sampler import Stream, TaskDraw, TaskSampler
from medmeta.episodes.signal_changes import (
    SignalChanges,
    apply_to_signals,
    draw_for_signals,
    is_signal_batch,
    shifted_masks,
)
from medmeta.episodes.structures import task_labels
from medmeta.episodes.task_augmentation import ALLOWED, TaskChanges, draw_task_changes
from medmeta.episodes.views import View, stored_view
from medmeta.input_parts import IMAGE
from medmeta.spans import span

Drawn = Changes | Alterations | SignalChanges | None
"""What happens to the images of a batch."""


def loaded_ahead(load: Callable[[int], Episode], first: int, last: int) -> Iterator[Episode]:
    """Batches ``first`` to ``last - 1``, the next one loaded while one is used.

    >>> list(loaded_ahead(lambda number: number * 10, 2, 5))
    [20, 30, 40]
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as ahead:
        waiting = ahead.submit(load, first) if first < last else None
        for number in range(first, last):
            assert waiting is not None
            with span("load"):
                episode = waiting.result()
            if number + 1 < last:
                waiting = ahead.submit(load, number + 1)
            yield episode


class EpisodeLoader:
    """Batches of tasks: number ``b`` holds tasks ``b * tasks_per_batch`` and on.

    ``views`` give the images (or embeddings) of each of the sampler's sources; by default its
    pixels. ``augment`` changes images and masks, the same way whenever a task is drawn: ``light``
    alike for all, ``modality`` within what theirs allows, ``tasks`` makes other tasks of masks.
    """

    def __init__(
        self,
        sampler: TaskSampler,
        views: Sequence[View] | None = None,
        *,
        device: torch.device | str = "cpu",
        augment: Augment = "none",
    ) -> None:
        self.sampler = sampler
        self.augment = augment
        self.device = device
        self.views = views or [stored_view(source) for source in sampler.sources]

    def draws(self, batch: int, n_tasks: int | None = None) -> list[TaskDraw]:
        """The tasks of a batch, as rows; ``n_tasks`` of them where the last batch is cut short."""
        size = self.sampler.protocol.tasks_per_batch
        first = batch * size
        with span("load"):
            return [self.sampler.draw(i) for i in range(first, first + (n_tasks or size))]

    def fill(self, draws: Sequence[TaskDraw], target: Target) -> Episode:
        """Drawn tasks of one shape with their images; support and query are views of one tensor."""
        with span("load"):
            ids = torch.tensor([draw.task for draw in draws], device=self.device)
            n = len(draws[0].support_rows)
            groups = torch.from_numpy(self.sampler.groups_of(draws)).to(self.device)
            stored = self._gathered(draws)
            drawn = self._drawn(draws, _images_of(stored))
            inputs = self._converted(stored, drawn)
            if target.kind != "masks":
                support = self._labels(draws, target, query=False)
                query = self._labels(draws, target, query=True)
            else:
                masks = self._masks(draws, drawn)
                if self.augment == "tasks" and isinstance(inputs, Tensor):
                    inputs, masks = self._other_tasks(draws).apply(inputs, masks, target)
                support, query = masks[:, :n], masks[:, n:]
            return Episode(
                LabelledSet(map_inputs(lambda x: x[:, :n], inputs), support, ids, groups[:, :n]),
                LabelledSet(map_inputs(lambda x: x[:, n:], inputs), query, ids, groups[:, n:]),
                target,
            )

    def _drawn(self, draws: Sequence[TaskDraw], stored: Tensor) -> Drawn:
        """What happens to the images of each task; nothing to records and embeddings."""
        if self.augment == "none":
            return None
        if is_signal_batch(stored):
            return SignalChanges.of_tasks(self._of_signals(draws, stored))
        if stored.dtype != torch.uint8 and stored.ndim < 5:
            return None
        light = self.augment == "light"
        return self._changes(draws, stored) if light else self._alterations(draws, stored)

    def _converted(self, stored: Inputs, drawn: Drawn) -> Inputs:
        """``(T, S + Q, ...)``, all at once; of a mapping only the images are changed."""
        if isinstance(stored, Tensor):
            return self._images(stored, drawn)
        return {
            name: self._images(values, drawn) if name == IMAGE else values.to(self.device)
            for name, values in stored.items()
        }

    def _images(self, stored: Tensor, drawn: Drawn) -> Tensor:
        images = stored.to(self.device)
        if isinstance(drawn, SignalChanges):
            return apply_to_signals(images, drawn)
        if isinstance(drawn, Changes):
            return apply_changes(images, drawn)
        if isinstance(drawn, Alterations):
            return apply_alterations(images, drawn)
        return as_float(images)

    def _masks(self, draws: Sequence[TaskDraw], drawn: Drawn) -> Tensor:
        """Labels ``(T, S + Q, *space)``, moved as their images are."""
        found = []
        for draw in draws:
            rows = np.concatenate([draw.support_rows, draw.query_rows])
            stored = self.sampler.sources[draw.source].gather_masks(rows)
            found.append(task_labels(stored, draw.values))
        masks = torch.from_numpy(np.stack(found)).to(self.device)
        if isinstance(drawn, Changes):
            return mirrored_masks(masks, drawn)
        if isinstance(drawn, SignalChanges):
            return shifted_masks(masks, drawn)
        return moved_masks(masks, drawn) if isinstance(drawn, Alterations) else masks

    def _other_tasks(self, draws: Sequence[TaskDraw]) -> TaskChanges:
        random = (self.sampler.generator(Stream.OTHER_TASKS, draw.task) for draw in draws)
        return TaskChanges.of_tasks([draw_task_changes(one) for one in random])

    def _gathered(self, draws: Sequence[TaskDraw]) -> Inputs:
        parts = [rows for draw in draws for rows in (draw.support_rows, draw.query_rows)]
        rows = np.concatenate(parts).reshape(len(draws), -1)
        sources = np.array([draw.source for draw in draws])
        if (sources == sources[0]).all():
            return self._rows_of(draws[0].source, rows)
        whole: Inputs | None = None
        for source in sorted(set(sources.tolist())):
            places = np.flatnonzero(sources == source)
            found = self._rows_of(source, rows[places])
            if whole is None:
                whole = map_inputs(lambda x: x.new_empty((len(draws), *x.shape[1:])), found)
            _put(whole, torch.from_numpy(places), found)
        assert whole is not None
        return whole

    def _rows_of(self, source: int, rows: NDArray[np.int64]) -> Inputs:
        """Rows ``(T, n)`` of one source ``(T, n, ...)``."""
        inputs = self.views[source](rows.reshape(-1))
        return map_inputs(lambda x: x.reshape(*rows.shape, *x.shape[1:]), inputs)

    def _changes(self, draws: Sequence[TaskDraw], images: Tensor) -> Changes:
        """What happens to each image: a function of the seed and the task alone."""
        n_images, n_channels = images.shape[1:3]
        return Changes.of_tasks(
            [
                draw_changes(
                    self.sampler.generator(Stream.AUGMENTATION, draw.task),
                    n_images,
                    n_channels,
                    colour=bool(colour),
                )
                for draw, colour in zip(draws, is_colour(images), strict=True)
            ]
        )

    def _alterations(self, draws: Sequence[TaskDraw], images: Tensor) -> Alterations:
        """As ``_changes``, within what the modality of each task's images allows."""
        n_images, n_channels = images.shape[1:3]
        drawn = []
        for draw, colour in zip(draws, is_colour(images), strict=True):
            rows = np.concatenate([draw.support_rows, draw.query_rows])
            modalities = self.sampler.sources[draw.source].index.modalities
            allowed = ALLOWED if self.augment == "tasks" else allowed_of(modalities, rows)
            random = self.sampler.generator(Stream.AUGMENTATION, draw.task)
            drawn.append(
                draw_alterations(random, n_images, n_channels, allowed, colour=bool(colour))
            )
        return Alterations.of_tasks(drawn)

    def _of_signals(self, draws: Sequence[TaskDraw], signals: Tensor) -> list[SignalChanges]:
        """The same of signals, for which both kinds of augmentation are one."""
        drawn = []
        for draw in draws:
            rows = np.concatenate([draw.support_rows, draw.query_rows])
            modalities = self.sampler.sources[draw.source].index.modalities
            random = self.sampler.generator(Stream.AUGMENTATION, draw.task)
            allowed = allowed_of_signals(modalities, rows)
            n, leads = signals.shape[1:3]
            drawn.append(draw_for_signals(random, n, leads, allowed))
        return drawn

    def batch(self, number: int, n_tasks: int | None = None) -> Episode:
        """Batch number ``number``."""
        target, _ = self.sampler.shape(number)
        return self.fill(self.draws(number, n_tasks), target)

    def batches(self, first: int, last: int) -> Iterator[Episode]:
        """Batches ``first`` to ``last - 1``."""
        return loaded_ahead(self.batch, first, last)

    def _labels(self, draws: Sequence[TaskDraw], target: Target, *, query: bool) -> Tensor:
        if target.kind == "classes":
            labels = [draw.query_labels if query else draw.support_labels for draw in draws]
            return torch.from_numpy(np.stack(labels)).to(self.device)
        values = []
        for draw in draws:
            known = self.sampler.sources[draw.source].index.values
            assert known is not None
            values.append(known[draw.query_rows if query else draw.support_rows])
        return torch.from_numpy(np.stack(values)).to(self.device)[..., None]


def _images_of(stored: Inputs) -> Tensor:  # the inputs themselves, where there is one kind
    return stored if isinstance(stored, Tensor) else stored[IMAGE]


def _put(whole: Inputs, places: Tensor, found: Inputs) -> None:
    """Write the inputs of some tasks into those of all."""
    if isinstance(whole, Tensor):
        assert isinstance(found, Tensor)
        whole[places] = found
        return
    assert not isinstance(found, Tensor)
    for name, values in whole.items():
        values[places] = found[name]
