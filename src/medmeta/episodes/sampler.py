"""Which images make task i: a pure function of the protocol's seed and i.

Only indices are drawn here; no image is touched. Drawing costs O(way × (shot + query)), however
large the source is, unless its patients leave so little choice that chance does not find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.parting import part_groups
from medmeta.episodes.pools import ClassPool, class_pools, refuse_small_pools
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.structures import (
    BACKGROUND,
    draw_structures,
    images_of,
    most_together,
    share,
)
from medmeta.errors import SamplingError

ATTEMPTS = 30
COMBINATIONS = 30  # of classes, where those drawn share too many patients


class Stream(IntEnum):
    """What a random number is for; different streams never meet."""

    TASK = 0
    BATCH = 1
    AUGMENTATION = 2
    PASS = 3
    IMAGES = 4
    OUTSIDE = 5
    OTHER_TASKS = 6


def random_numbers(seed: int, stream: Stream, number: int) -> np.random.Generator:
    """Random numbers that depend on nothing but the seed, the stream and the number."""
    key = np.array([seed, int(stream)], dtype=np.uint64)
    counter = np.array([0, 0, 0, number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@dataclass(frozen=True)
class TaskDraw:
    """One task as rows of a source.

    ``source`` is its number; ``classes`` its classes' names, in the order of the labels (empty for
    values; for masks the background's first); rows and labels are ``(S,)`` and ``(Q,)``. Of a task
    of masks ``values`` are what the source's masks mark its structures by, and labels are all 0.
    """

    task: int
    source: int
    classes: tuple[str, ...]
    support_rows: NDArray[np.int64]
    support_labels: NDArray[np.int64]
    query_rows: NDArray[np.int64]
    query_labels: NDArray[np.int64]
    values: tuple[int, ...] = ()


class TaskSampler:
    """Draws tasks from sources by a protocol.

    Support and query of a task share no patient and no identical picture (all classes taken
    together), where patients are known and unless the protocol says otherwise; of classes whose
    patients leave no such task others are drawn. Raises ``SamplingError`` that names the source or
    class for what the data cannot give.
    """

    def __init__(self, sources: Sequence[Source], protocol: Protocol) -> None:
        self.sources = tuple(sources)
        self.protocol = protocol
        low, high = protocol.n_way
        pools, self.dropped = [], {}
        for source in self.sources:
            kept, small = class_pools(source, protocol)
            refuse_small_pools(source, small, protocol, n_left=len(kept))
            if small:
                self.dropped[source.name] = {pool.name: len(pool.rows) for pool in small}
            if protocol.kind == "classes" and len(kept) < low:
                raise SamplingError(_too_few_classes(source, len(kept), low, high))
            pools.append(kept)
            if protocol.kind == "masks" and most_together(kept) < low - 1:
                raise SamplingError(_too_few_structures(source, most_together(kept), low))
        self.pools: tuple[tuple[ClassPool, ...], ...] = tuple(pools)
        if protocol.kind == "classes" and all(len(p) < high for p in pools):
            most = max(range(len(pools)), key=lambda i: len(pools[i]))
            raise SamplingError(_too_few_classes(self.sources[most], len(pools[most]), high, high))
        if protocol.kind == "masks" and (n := max(map(most_together, pools))) < high - 1:
            raise SamplingError(_too_few_structures(self.sources[0], n, high))

    def generator(self, stream: Stream, number: int) -> np.random.Generator:
        """Random numbers that depend on nothing but the seed, the stream and the number."""
        return random_numbers(self.protocol.seed, stream, number)

    def shape(self, batch: int) -> tuple[Target, int]:
        """What the tasks of a batch ask for, and their shots."""
        (few, many), (low, high) = self.protocol.n_shot, self.protocol.n_way
        valued = self.protocol.kind == "values"
        kind = self.protocol.kind
        if few == many and (low == high or valued):  # nothing is left to chance
            return (Target("values", 1) if valued else Target(kind, low)), few
        random = self.generator(Stream.BATCH, batch)
        shot = int(random.integers(few, many + 1))
        if valued:
            return Target("values", 1), shot
        return Target(kind, int(random.integers(low, high + 1))), shot

    def draw(self, task: int) -> TaskDraw:
        """Task number ``task``."""
        target, shot = self.shape(task // self.protocol.tasks_per_batch)
        random = self.generator(Stream.TASK, task)
        if target.kind == "masks":
            return self._of_structures(task, target.size - 1, shot, random)
        way = target.size
        able = [i for i, pools in enumerate(self.pools) if len(pools) >= way]
        for _ in range(COMBINATIONS):
            number = int(able[random.integers(len(able))])
            pools = self.pools[number]
            chosen = [pools[i] for i in random.choice(len(pools), way, replace=False)]
            if (drawn := self._rows_of(chosen, shot, random)) is not None:
                return _task(task, number, chosen, drawn, valued=target.kind == "values")
        raise self._no_way(number, chosen, shot)

    def groups_of(self, draws: Sequence[TaskDraw]) -> NDArray[np.int64]:
        """Which images ``(T, S + Q)`` of drawn tasks of one shape are of one patient or picture."""
        rows = [np.concatenate([draw.support_rows, draw.query_rows]) for draw in draws]
        of = [self.sources[draw.source].groups for draw in draws]
        return np.stack([groups[own] for groups, own in zip(of, rows, strict=True)])

    def _of_structures(self, task: int, n: int, shot: int, random: np.random.Generator) -> TaskDraw:
        able = [i for i, pools in enumerate(self.pools) if most_together(pools) >= n]
        weights = np.array([share(self.pools[i]) for i in able])
        for _ in range(COMBINATIONS):
            number = int(able[random.choice(len(able), p=weights / weights.sum())])
            chosen = draw_structures(self.pools[number], n, random)
            images = [images_of(chosen, shot, self.protocol.n_query)]
            if (drawn := self._rows_of(images, shot, random)) is not None:
                names = (BACKGROUND, *(pool.name for pool in chosen))
                values = tuple(pool.value for pool in chosen)
                made = _task(task, number, images, drawn, valued=True)
                return replace(made, classes=names, values=values)
        raise self._no_way(number, images, shot)

    def _rows_of(
        self, chosen: list[ClassPool], shot: int, random: np.random.Generator
    ) -> Rows | None:
        """Support and query rows of some pools; None where there is no way."""
        for attempt in range(ATTEMPTS):
            # Patients are first left to chance; where that fails, support takes whole patients.
            drawn = _draw_rows(chosen, shot, self.protocol.n_query, random, whole=attempt >= 5)
            if drawn is not None:
                return drawn
        parted = part_groups([p.groups for p in chosen], shot, self.protocol.n_query, random)
        return None if parted is None else (_rows(chosen, parted[0]), _rows(chosen, parted[1]))

    def _no_way(self, number: int, chosen: list[ClassPool], shot: int) -> SamplingError:
        names = ", ".join(f"{p.name} ({len(p.rows)} images)" for p in chosen)
        return SamplingError(
            f"{self.sources[number].name}: no way was found to give {names} {shot} support and "
            f"{self.protocol.n_query} query images that share no patient and no picture. "
            "Ask for fewer shots or queries."
        )


Rows = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Support and query rows ``(n_way, shot)`` and ``(n_way, n_query)``."""


def _draw_rows(
    pools: list[ClassPool], shot: int, n_query: int, random: np.random.Generator, *, whole: bool
) -> Rows | None:
    """Support and query rows of each class, or None where this attempt shares a group."""
    if whole:
        orders = [pool.by_whole_groups(random) for pool in pools]
    else:
        orders = [pool.some(shot, n_query, random) for pool in pools]
    supports, queries = [order[:shot] for order in orders], [order[shot:] for order in orders]
    if not pools[0].singles:
        # A set, not an array: of a few dozen numbers it is made and asked many times faster.
        taken = {g for p, s in zip(pools, supports, strict=True) for g in p.groups[s].tolist()}
        for number, pool in enumerate(pools):
            groups = pool.groups[queries[number]].tolist()
            free = queries[number][[group not in taken for group in groups]]
            if len(free) < n_query:
                return None
            queries[number] = random.permutation(free) if whole else free
    return _rows(pools, supports), _rows(pools, [query[:n_query] for query in queries])


def _rows(pools: list[ClassPool], places: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    rows = [pool.rows[place] for pool, place in zip(pools, places, strict=True)]
    return np.concatenate(rows).reshape(len(pools), -1)


def _task(task: int, source: int, pools: list[ClassPool], drawn: Rows, *, valued: bool) -> TaskDraw:
    support, query = drawn
    labels = np.arange(len(pools))
    return TaskDraw(
        task=task,
        source=source,
        classes=() if valued else tuple(pool.name for pool in pools),
        support_rows=support.reshape(-1),
        support_labels=labels.repeat(support.shape[1]),
        query_rows=query.reshape(-1),
        query_labels=labels.repeat(query.shape[1]),
    )


def _too_few_structures(source: Source, found: int, way: int) -> str:
    return (
        f"{source.name} has {found} usable structure{'' if found == 1 else 's'} to mark, fewer "
        f"than the {way - 1} of --way {way} (the background counts). Use --way {max(found, 1) + 1}."
    )


def _too_few_classes(source: Source, found: int, low: int, high: int) -> str:
    if found < 2:
        return (
            f"{source.name} has {found} usable class{'' if found == 1 else 'es'}; learning to "
            "tell classes apart needs at least two. Add a folder per class."
        )
    asked = str(low) if low == high else f"{low}-{high}"
    return (
        f"{source.name} has {found} usable classes, fewer than --way {asked}. Use --way {found} "
        f"or fewer, or a range such as --way 2-{max(found, 2)}, or leave this source out."
    )
