"""Filling drawn tasks with what learners take: batches of one shape, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.data.preprocess import as_float
from medmeta.data.source import Source
from medmeta.episode import Episode, LabelledSet, Target
from medmeta.episodes.augmentation import Augment, apply_changes, draw_changes, is_colour
from medmeta.episodes.sampler import Stream, TaskDraw, TaskSampler

View = Callable[[NDArray[np.int64]], Tensor]
"""Rows ``(n,)`` of a source to its images or embeddings ``(n, ...)``."""


def pixel_view(source: Source, device: torch.device | str = "cpu") -> View:
    """Images as normalised float32, gathered as integers and converted on the device."""

    def gather(rows: NDArray[np.int64]) -> Tensor:
        return as_float(torch.from_numpy(source.gather(rows)).to(device))

    return gather


def embedding_view(embeddings: Tensor) -> View:
    """Rows of embeddings ``(n, D)`` that were computed once."""
    return lambda rows: embeddings[torch.from_numpy(rows).to(embeddings.device)]


class EpisodeLoader:
    """Batches of tasks: number ``b`` holds tasks ``b * tasks_per_batch`` and on.

    ``views`` give the images (or embeddings) of each of the sampler's sources; by default its
    pixels. ``augment`` changes the images a little, the same way whenever the task is drawn.
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
        self.views = views or [pixel_view(source, device) for source in sampler.sources]

    def draws(self, batch: int, n_tasks: int | None = None) -> list[TaskDraw]:
        """The tasks of a batch, as rows; ``n_tasks`` of them where the last batch is cut short."""
        size = self.sampler.protocol.tasks_per_batch
        first = batch * size
        return [self.sampler.draw(i) for i in range(first, first + (n_tasks or size))]

    def fill(self, draws: Sequence[TaskDraw], target: Target) -> Episode:
        """Drawn tasks of one shape with their images."""
        ids = torch.tensor([draw.task for draw in draws], device=self.device)
        n_support = len(draws[0].support_rows)
        images = torch.stack(
            [
                self._images(draw, np.concatenate([draw.support_rows, draw.query_rows]))
                for draw in draws
            ]
        )
        return Episode(
            LabelledSet(images[:, :n_support], self._labels(draws, target, query=False), ids),
            LabelledSet(images[:, n_support:], self._labels(draws, target, query=True), ids),
            target,
        )

    def _images(self, draw: TaskDraw, rows: NDArray[np.int64]) -> Tensor:
        images = self.views[draw.source](rows)
        if self.augment == "none":
            return images
        random = self.sampler.generator(Stream.AUGMENTATION, draw.task)
        n_images, n_channels = images.shape[:2]
        changes = draw_changes(random, n_images, n_channels, colour=is_colour(images))
        return apply_changes(images, changes)

    def batch(self, number: int, n_tasks: int | None = None) -> Episode:
        """Batch number ``number``."""
        target, _ = self.sampler.shape(number)
        return self.fill(self.draws(number, n_tasks), target)

    def batches(self, first: int, last: int) -> Iterator[Episode]:
        """Batches ``first`` to ``last - 1``, the next one loaded while one is used."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as ahead:
            waiting = ahead.submit(self.batch, first) if first < last else None
            for number in range(first, last):
                assert waiting is not None
                episode = waiting.result()
                if number + 1 < last:
                    waiting = ahead.submit(self.batch, number + 1)
                yield episode

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
