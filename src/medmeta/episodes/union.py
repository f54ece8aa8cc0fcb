"""Batches over the classes of all sources together, for training that knows no tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.data.preprocess import as_float
from medmeta.data.source import Source
from medmeta.episode import Episode, LabelledSet, Target
from medmeta.episodes.alterations import Alterations, apply_alterations, draw_alterations
from medmeta.episodes.augmentation import (
    Augment,
    Changes,
    apply_changes,
    draw_changes,
    is_colour,
)
from medmeta.episodes.loader import loaded_ahead
from medmeta.episodes.modality_table import allowed_of, allowed_of_signals
from medmeta.episodes.sampler import Stream, random_numbers
from medmeta.episodes.signal_changes import (
    SignalChanges,
    apply_to_signals,
    draw_for_signals,
    is_signal_batch,
)
from medmeta.errors import SamplingError
from medmeta.spans import span

DrawFrom = Literal["images", "classes"]


class UnionBatches:
    """Batch ``b`` is an episode of one task whose ``n_way`` are all classes, and has no support.

    Its query ``(1, batch_size, C, H, W)`` is drawn by ``draw``: ``images`` goes through all images
    in an order drawn anew for each pass; ``classes`` draws a class for each image first, so that
    rare classes come as often as common ones. A batch is a function of the seed and its number
    alone. Classes of two sources are two classes, whatever they are called.
    Raises ``SamplingError`` for a source of values, and for fewer than two classes in all.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        batch_size: int,
        *,
        seed: int,
        draw: DrawFrom = "images",
        device: torch.device | str = "cpu",
        augment: Augment = "none",
    ) -> None:
        self.sources = tuple(sources)
        self.batch_size = batch_size
        self.seed = seed
        self.draw_from = draw
        self.device = device
        self.augment = augment
        names: list[tuple[str, str]] = []
        parts = []
        for number, source in enumerate(self.sources):
            rows, labels, present = _labelled(source)
            parts.append((np.full(len(rows), number), rows, labels + len(names)))
            names += [(source.name, name) for name in present]
        self.classes = tuple(names)
        if len(names) < 2:
            raise SamplingError(
                f"the sources have {len(names)} class{'' if len(names) == 1 else 'es'} in all; "
                "there is nothing to tell apart. Add a folder per class, or another source."
            )
        # Each image of the union: its source, its row there, its class.
        self._source, self._row, self._label = map(np.concatenate, zip(*parts, strict=True))
        self._by_class = np.argsort(self._label, kind="stable")
        self._counts = np.bincount(self._label)
        self._order = lru_cache(maxsize=2)(self._drawn_order)  # a batch may lie in two passes

    def __len__(self) -> int:
        """Images in all sources together."""
        return len(self._label)

    @property
    def target(self) -> Target:
        """All classes."""
        return Target("classes", len(self.classes))

    def draw(self, number: int) -> NDArray[np.int64]:
        """Which images of the union make a batch, ``(batch_size,)``."""
        size = self.batch_size
        if self.draw_from == "classes":
            random = random_numbers(self.seed, Stream.IMAGES, number)
            classes = random.integers(len(self._counts), size=size)
            places = random.integers(self._counts[classes])
            starts = np.cumsum(self._counts) - self._counts
            drawn: NDArray[np.int64] = self._by_class[starts[classes] + places]
            return drawn
        passes, places = np.divmod(np.arange(number * size, (number + 1) * size), len(self))
        parts = [self._order(int(p))[places[passes == p]] for p in np.unique(passes)]
        return np.concatenate(parts)

    def batch(self, number: int) -> Episode:
        """Batch number ``number``."""
        with span("load"):
            drawn = self.draw(number)
            images = self._images(drawn, number)
            labels = torch.from_numpy(self._label[drawn])[None].to(self.device)
            ids = torch.tensor([number], device=self.device)
            query = LabelledSet(images, labels, ids)
            none = LabelledSet(images[:, :0], labels[:, :0], ids)
            return Episode(none, query, self.target)

    def batches(self, first: int, last: int) -> Iterator[Episode]:
        """Batches ``first`` to ``last - 1``."""
        return loaded_ahead(self.batch, first, last)

    def _drawn_order(self, number: int) -> NDArray[np.int64]:
        return random_numbers(self.seed, Stream.PASS, number).permutation(len(self))

    def _images(self, drawn: NDArray[np.int64], number: int) -> Tensor:
        """``(1, B, C, H, W)``, normalised and changed."""
        stored = self._gathered(drawn)[:, None]  # each image as a task of one: changed by itself
        images = stored.to(self.device)
        if self.augment == "none":
            return as_float(images).transpose(0, 1)
        random = random_numbers(self.seed, Stream.AUGMENTATION, number)
        channels = stored.shape[2]
        if is_signal_batch(stored):
            drawn_changes = SignalChanges.of_tasks(self._of_signals(drawn, channels, random))
            return apply_to_signals(images, drawn_changes).transpose(0, 1)
        if self.augment == "modality":
            return apply_alterations(images, self._alterations(drawn, stored, random)).transpose(
                0, 1
            )
        changes = [draw_changes(random, 1, channels, colour=bool(c)) for c in is_colour(stored)]
        return apply_changes(images, Changes.of_tasks(changes)).transpose(0, 1)

    def _alterations(
        self, drawn: NDArray[np.int64], stored: Tensor, random: np.random.Generator
    ) -> Alterations:
        """Each image by itself, within what its modality allows."""
        images = zip(self._source[drawn], self._row[drawn], is_colour(stored), strict=True)
        found = []
        for source, row, colour in images:
            allowed = allowed_of(self.sources[source].index.modalities, np.array([row]))
            found.append(draw_alterations(random, 1, stored.shape[2], allowed, colour=bool(colour)))
        return Alterations.of_tasks(found)

    def _of_signals(
        self, drawn: NDArray[np.int64], channels: int, random: np.random.Generator
    ) -> list[SignalChanges]:
        """The same of signals."""
        places = zip(self._source[drawn], self._row[drawn], strict=True)
        allowed = [
            allowed_of_signals(self.sources[source].index.modalities, np.array([row]))
            for source, row in places
        ]
        return [draw_for_signals(random, 1, channels, one) for one in allowed]

    def _gathered(self, drawn: NDArray[np.int64]) -> Tensor:
        """Stored pixels ``(B, C, H, W)``: one gathering from each source."""
        first = self.sources[0].pixels
        pixels = np.empty((len(drawn), *first.shape[1:]), dtype=first.dtype)
        numbers = self._source[drawn]
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            pixels[places] = self.sources[number].gather(self._row[drawn[places]])
        return torch.from_numpy(pixels)


def _labelled(source: Source) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Rows that have a class, their classes counted from 0, and those classes' names."""
    labels = source.index.labels
    if labels is None:
        raise SamplingError(f"{source.name} has values, not classes; leave it out.")
    rows = np.flatnonzero(labels.codes >= 0)
    present, codes = np.unique(labels.codes[rows], return_inverse=True)
    return rows, codes.astype(np.int64), [labels.names[code] for code in present]
