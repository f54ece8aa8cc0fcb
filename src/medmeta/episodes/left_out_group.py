"""Tasks of one group's images (a site, a device), with a support from it or from all others."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import Stream, TaskDraw, TaskSampler
from medmeta.errors import SamplingError

if TYPE_CHECKING:
    from medmeta.episodes.pools import ClassPool


class Support(StrEnum):
    """Where the labelled images of a task come from, as seen from its query's group."""

    INSIDE = "inside"
    OUTSIDE = "outside"


class LeftOutGroup(TaskSampler):
    """Tasks whose query is of the group ``name`` of ``column``.

    Task ``i`` has the same classes and the same query under either ``support``: ``inside``, where
    the labelled images are of the same group too, and ``outside``, where they are of other groups.
    So answers to the two compare task by task. Neither support shares a patient or a picture with
    the query, and images whose group is not known are not used. Raises ``SamplingError`` where the
    group, or what is outside of it, cannot give such tasks.
    """

    def __init__(
        self, source: Source, protocol: Protocol, column: Column, name: str, *, support: Support
    ) -> None:
        code = column.names.index(name)
        self.support = support
        self._rows = np.flatnonzero(column.codes == code)
        if not len(self._rows):
            raise SamplingError(f"{source.name}: it has no image.")
        super().__init__([source.take(self._rows)], protocol)
        self.sources = (source,)
        outside = np.flatnonzero((column.codes >= 0) & (column.codes != code))
        kept = self._with_outside(self.pools[0], _by_class(source, outside))
        self.pools = (kept,)

    def _with_outside(
        self, pools: tuple[ClassPool, ...], outside: dict[str, NDArray[np.int64]]
    ) -> tuple[ClassPool, ...]:
        """The classes that other groups have enough images of, too; these are kept by."""
        shot, (low, high) = self.protocol.n_shot[1], self.protocol.n_way
        needed = 1 if self.protocol.kind == "values" else high
        n_asked = needed * self.protocol.n_query
        able = [p for p in pools if self._sure(outside.get(p.name), n_asked) >= shot]
        if len(able) < needed:
            raise SamplingError(
                f"{self.sources[0].name}: {len(able)} of its classes surely have {shot} labelled "
                "images outside of it that share no patient with those asked about; a task needs "
                f"{max(low, needed) if needed > 1 else needed}."
            )
        self._outside = {pool.name: outside[pool.name] for pool in able}
        return tuple(able)

    def _sure(self, rows: NDArray[np.int64] | None, n_asked: int) -> int:
        """How many of these images are left, whatever ``n_asked`` images of the group are asked."""
        if rows is None:
            return 0
        linked = self.sources[0].groups
        names, sizes = np.unique(linked[rows], return_counts=True)
        shared = np.isin(names, linked[self._rows])
        return int(sizes.sum() - np.sort(sizes[shared])[::-1][:n_asked].sum())

    def draw(self, task: int) -> TaskDraw:
        """Task number ``task``."""
        drawn = super().draw(task)
        support, query = self._rows[drawn.support_rows], self._rows[drawn.query_rows]
        if self.support is Support.OUTSIDE:
            random = self.generator(Stream.OUTSIDE, task)
            names = drawn.classes or tuple(self._outside)
            linked = self.sources[0].groups
            taken = set(linked[query].tolist())
            shot = len(support) // len(names)
            pools = [self._outside[name] for name in names]
            support = np.concatenate([_free(p, linked, taken, shot, random) for p in pools])
        return replace(drawn, support_rows=support, query_rows=query)


def _free(
    pool: NDArray[np.int64],
    linked: NDArray[np.int64],
    taken: set[int],
    shot: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """``shot`` rows of a pool at random whose group is not taken; there are enough."""
    some = random.choice(pool, min(2 * shot + 8, len(pool)), replace=False)
    for order in (some, random.permutation(pool)):
        free: NDArray[np.int64] = order[[g not in taken for g in linked[order].tolist()]]
        if len(free) >= shot:
            break
    return free[:shot]


def _by_class(source: Source, rows: NDArray[np.intp]) -> dict[str, NDArray[np.int64]]:
    """Some rows of a source, by class; of a source of values by its name."""
    labels = source.index.labels
    if labels is None:
        return {source.name: rows}
    codes = labels.codes[rows]
    return {labels.names[code]: rows[codes == code] for code in np.unique(codes)}
