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
    So answers to the two compare task by task. A patient of the group gives no image to a support
    from outside, and images whose group is not known are not used. Raises ``SamplingError``
    where the group, or what is outside of it, cannot give such tasks.
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
        linked = np.isin(source.groups, source.groups[self._rows])
        outside = np.flatnonzero((column.codes >= 0) & ~linked)
        kept = self._with_outside(self.pools[0], _by_class(source, outside))
        self.pools = (kept,)

    def _with_outside(
        self, pools: tuple[ClassPool, ...], outside: dict[str, NDArray[np.int64]]
    ) -> tuple[ClassPool, ...]:
        """The classes that other groups have enough images of, too; these are kept by."""
        shot, (low, high) = self.protocol.n_shot[1], self.protocol.n_way
        able = [p for p in pools if len(outside.get(p.name, ())) >= shot]
        needed = 1 if self.protocol.kind == "values" else high
        if len(able) < needed:
            raise SamplingError(
                f"{self.sources[0].name}: {len(able)} of its classes have {shot} labelled images "
                f"outside of it, of patients that it has not; a task needs {max(low, needed)}."
            )
        self._outside = {pool.name: outside[pool.name] for pool in able}
        return tuple(able)

    def draw(self, task: int) -> TaskDraw:
        """Task number ``task``."""
        drawn = super().draw(task)
        support, query = self._rows[drawn.support_rows], self._rows[drawn.query_rows]
        if self.support is Support.OUTSIDE:
            random = self.generator(Stream.OUTSIDE, task)
            names = drawn.classes or tuple(self._outside)
            shot = len(support) // len(names)
            pools = [self._outside[name] for name in names]
            support = np.concatenate([random.choice(p, shot, replace=False) for p in pools])
        return replace(drawn, support_rows=support, query_rows=query)


def _by_class(source: Source, rows: NDArray[np.intp]) -> dict[str, NDArray[np.int64]]:
    """Some rows of a source, by class; of a source of values by its name."""
    labels = source.index.labels
    if labels is None:
        return {source.name: rows}
    codes = labels.codes[rows]
    return {labels.names[code]: rows[codes == code] for code in np.unique(codes)}
