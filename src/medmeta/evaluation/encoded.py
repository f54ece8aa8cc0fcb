"""Embeddings of a source's images: made once, and used by thousands of tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.data.source import Source
from medmeta.episode import map_inputs
from medmeta.episodes.views import pixel_view
from medmeta.evaluation.cores import side_by_side
from medmeta.learner import AbstractLearner, HeadedLearner
from medmeta.modes import answering
from medmeta.spans import span

Progressed = Callable[[int, int], None]

BUDGET = 128 * 2**20

# Positions (height × width) per batch. On a processor what a layer makes of a batch should stay in
# its cache: on two cores Conv-4 takes 1.0 ms for an image of 64×64 by 8 to 32, and 2.3 ms by 64.
PROCESSOR_BATCH = 24 * 64 * 64
DEVICE_BATCH = 16 * PROCESSOR_BATCH


class EncodedSource:
    """The embeddings of a source's images, each made when a task first asks for it.

    At most ``budget`` bytes of them are kept, and forgotten when other images need the room. Any
    number of protocols, and of heads on the same encoder, may be evaluated on one; the weights of
    the encoder must not change meanwhile. ``progress`` is called with the images done and their
    number. Only for learners of which ``encodes_apart`` holds.
    """

    def __init__(
        self,
        learner: HeadedLearner,
        source: Source,
        *,
        device: torch.device | str = "cpu",
        budget: int = BUDGET,
        progress: Progressed | None = None,
    ) -> None:
        self.learner = learner
        self.source = source
        self.budget = budget
        self.progress = progress
        self.device = torch.device(device)
        self._inputs = pixel_view(source, device)
        self._place = np.full(len(source), -1, dtype=np.int64)  # of each row, -1: not kept
        self._row = np.zeros(0, dtype=np.int64)  # of each place, -1: free
        self._table = torch.empty(0, 0)

    @property
    def room(self) -> int:
        """How many images' embeddings are kept at most; 0 until the first one is made."""
        return len(self._table)

    @property
    def bytes_per_image(self) -> int:
        """Bytes of one embedding; 0 until the first one is made."""
        return self._table.element_size() * self._table.shape[1]

    def hold(self, rows: NDArray[np.int64]) -> None:
        """Have the embeddings of these rows at hand, whatever the budget."""
        wanted = np.unique(rows)
        missing = wanted[self._place[wanted] < 0]
        if self.room and len(missing) > np.count_nonzero(self._row < 0):
            self._forget_but(wanted)
        done = 0
        batches = self._batches(missing)
        encoded = side_by_side(self._encode, batches, device=self.device)
        with answering(self.learner), closing(encoded) as parts:
            for batch, embeddings in zip(batches, parts, strict=True):
                free = self._free_places(embeddings, len(missing) - done)[: len(batch)]
                self._table[torch.from_numpy(free).to(self.device)] = embeddings
                self._place[batch], self._row[free] = free, batch
                done += len(batch)
                if self.progress is not None:
                    self.progress(done, len(missing))

    def of(self, rows: NDArray[np.int64]) -> Tensor:
        """Embeddings ``(n, D)`` of rows ``(n,)`` that are held: what an ``EpisodeLoader`` views."""
        return self._table.index_select(0, torch.from_numpy(self._place[rows]).to(self.device))

    def _batches(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        size = batch_size(self.source.pixels.shape[2:], self.device)
        return [rows[first : first + size] for first in range(0, len(rows), size)]

    def _encode(self, rows: NDArray[np.int64]) -> Tensor:
        with span("load"):
            inputs = map_inputs(lambda x: x[None], self._inputs(rows))
        with span("encode"), torch.no_grad():
            return self.learner.encode(inputs)[0]

    def _free_places(self, embeddings: Tensor, needed: int) -> NDArray[np.int64]:
        """At least ``needed`` free places of the table, which is made or enlarged for it."""
        free = np.flatnonzero(self._row < 0)
        if len(free) < needed:
            affordable = self.budget // (embeddings.element_size() * embeddings.shape[1])
            size = max(min(affordable, len(self.source)), self.room - len(free) + needed)
            table = embeddings.new_empty(size, embeddings.shape[1])
            table[: self.room] = self._table if self.room else table[:0]
            self._row = np.concatenate([self._row, np.full(size - self.room, -1)])
            self._table = table
            free = np.flatnonzero(self._row < 0)
        return free

    def _forget_but(self, rows: NDArray[np.int64]) -> None:
        kept = np.zeros(len(self.source), dtype=bool)
        kept[rows] = True
        places = np.flatnonzero(self._row >= 0)
        gone = places[~kept[self._row[places]]]
        self._place[self._row[gone]] = -1
        self._row[gone] = -1


def batch_size(size: Sequence[int], device: torch.device | str = "cpu") -> int:
    """How many images of this size (height, width) are best encoded at once.

    >>> batch_size((64, 64)), batch_size((512, 512))
    (24, 1)
    """
    most = PROCESSOR_BATCH if torch.device(device).type == "cpu" else DEVICE_BATCH
    return max(1, most // math.prod(size))


def encodes_apart(learner: AbstractLearner) -> bool:
    """Whether a learner has a head, and an encoder that looks at each image alone.

    (One that normalises by the batch at hand couples images. A head may be transductive all the
    same: it answers the queries of a task together, by embeddings that were made apart.)
    """
    if not learner.traits.has_head:
        return False
    headed = cast(HeadedLearner, learner)
    by_head = headed.head.traits.transductive
    return not headed.coupled and (by_head or not headed.traits.transductive)
