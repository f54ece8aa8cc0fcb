"""Drawn tasks answered: by a head over embeddings that were made once, or by a whole learner."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.episode import Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.sampler import TaskDraw, TaskSampler
from medmeta.evaluation.cores import side_by_side
from medmeta.evaluation.encoded import EncodedSource
from medmeta.learner import AbstractLearner
from medmeta.spans import span
from medmeta.tasks import TaskMap, preferring

# Tasks drawn ahead: for a head row numbers are all they cost; among few it finds few of one shape.
AHEAD_OF_HEAD, AHEAD_OF_LEARNER = 2_000, 64
# Bytes of inputs that are answered at once. More does not stay in a processor's cache, and a
# gradient learner needs some hundred times as much.
TOGETHER = 16 * 2**20


@dataclass(frozen=True)
class Drawn:
    """A drawn task, what is asked of it, and its shots."""

    task: TaskDraw
    target: Target
    n_shot: int

    @property
    def rows(self) -> NDArray[np.int64]:
        """Support, then query, as rows of the source."""
        return np.concatenate([self.task.support_rows, self.task.query_rows])


@dataclass(frozen=True)
class Answers:
    """A learner's outputs ``(T, Q, size)`` for drawn tasks of one shape, and the true labels."""

    draws: tuple[TaskDraw, ...]
    n_shot: int
    outputs: Tensor
    labels: Tensor


def from_embeddings(
    head: AbstractLearner, sampler: TaskSampler, encoded: EncodedSource
) -> Iterator[Answers]:
    """The answers of a head, each image encoded once as long as there is room to keep it.

    Where there is not, that holds among consecutive tasks, as many as there is room for. Tasks of
    one shape are answered together, whatever the protocol's batches.
    """
    loader = EpisodeLoader(sampler, [encoded.of], device=encoded.device)
    heads = _PerThread(head)

    def answered(group: list[Drawn]) -> Answers:
        with torch.no_grad():
            return _answered(heads.own(), loader, group)

    for block in _blocks(sampler, encoded):
        encoded.hold(np.concatenate([drawn.rows for drawn in block]))
        groups = _groups(block, encoded.bytes_per_image)
        with closing(side_by_side(answered, groups, device=encoded.device)) as parts:
            yield from parts


def from_images(
    learner: AbstractLearner, sampler: TaskSampler, device: torch.device | str
) -> Iterator[Answers]:
    """The answers of a learner that is given the images of each task.

    On a processor a task by itself is fastest: what it needs stays in the cache. Elsewhere as many
    are lifted together as their images are few.
    """
    loader = EpisodeLoader(sampler, device=device)
    bytes_per_image = max(4, 4 * math.prod(sampler.sources[0].pixels.shape[1:]))
    method: TaskMap = "loop" if torch.device(device).type == "cpu" else "vmap"
    tasks = _drawn(sampler)
    while block := list(islice(tasks, AHEAD_OF_LEARNER)):
        for group in _groups(block, bytes_per_image):
            with preferring(method):
                answers = _answered(learner, loader, group)
            yield answers


class _PerThread:
    """A learner for the thread that this is made in, and a copy of it for each other thread.

    A learner may be called by one thread at a time: giving a module other weights for the length of
    a call (``torch.func.functional_call``) swaps them in the module itself.
    """

    def __init__(self, learner: AbstractLearner) -> None:
        self._learner = learner
        self._local = threading.local()
        self._local.learner = learner

    def own(self) -> AbstractLearner:
        """This thread's."""
        if not hasattr(self._local, "learner"):
            self._local.learner = copy.deepcopy(self._learner)
        own: AbstractLearner = self._local.learner
        return own


def _answered(solver: AbstractLearner, loader: EpisodeLoader, group: Sequence[Drawn]) -> Answers:
    draws = tuple(drawn.task for drawn in group)
    episode = loader.fill(draws, group[0].target)
    with span("inner loop"):
        outputs = solver.adapt(episode.support, episode.target)(episode.query.inputs)
    return Answers(draws, group[0].n_shot, outputs, episode.query.labels)


def _drawn(sampler: TaskSampler) -> Iterator[Drawn]:
    """All tasks of the protocol, in order."""
    size, last = sampler.protocol.tasks_per_batch, sampler.protocol.episodes
    for batch, first in enumerate(range(0, last, size)):
        target, n_shot = sampler.shape(batch)
        for task in range(first, min(first + size, last)):
            yield Drawn(sampler.draw(task), target, n_shot)


def _blocks(sampler: TaskSampler, encoded: EncodedSource) -> Iterator[list[Drawn]]:
    """Consecutive tasks whose images' embeddings there is room for at once.

    The first task stands alone: by its images it becomes known how much room an embedding takes.
    """
    used = np.zeros(len(encoded.source), dtype=bool)
    n_used = 0
    block: list[Drawn] = []
    for drawn in _drawn(sampler):
        rows = drawn.rows
        n_fresh = int(np.count_nonzero(~used[rows]))
        if block and (n_used + n_fresh > encoded.room or len(block) == AHEAD_OF_HEAD):
            yield block
            block, n_used, n_fresh = [], 0, len(rows)
            used[:] = False
        used[rows] = True
        n_used += n_fresh
        block.append(drawn)
    yield block


def _groups(block: Sequence[Drawn], bytes_per_image: int) -> Iterator[list[Drawn]]:
    """Tasks of one shape, as many as are best answered at once."""
    by_shape: dict[tuple[int, int], list[Drawn]] = {}
    for drawn in block:
        by_shape.setdefault((drawn.target.size, drawn.n_shot), []).append(drawn)
    for alike in by_shape.values():
        size = max(1, TOGETHER // (len(alike[0].rows) * bytes_per_image))
        for first in range(0, len(alike), size):
            yield alike[first : first + size]
