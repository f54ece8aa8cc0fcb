"""Tasks across groups: the same queries of one hospital, asked with its own support or others'.

A group is what shares a value of a column: a site, a device, a sex. Leaving one out tells how much
is lost where a predictor meets images from somewhere it has no labelled images of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.pools import class_pools
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import Stream, TaskDraw, TaskSampler
from medmeta.errors import SamplingError


@dataclass(frozen=True)
class LeftOut:
    """A group to leave out: its rows and the others', each ``(n,)`` of the source.

    Only classes that both have enough images of.
    """

    name: str
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]


def groups_left_out(
    source: Source, column: str, protocol: Protocol
) -> tuple[list[LeftOut], dict[str, str]]:
    """The groups of a column that can be left out, and why others cannot, by name.

    Images whose group is not known are in none. Raises ``SamplingError`` where no group is left.
    """
    known = source.index.column(column)
    if not (known.codes >= 0).any():
        raise SamplingError(
            f"{source.name}: nothing is known of {column}; columns with something in them: "
            f"{', '.join(known_columns(source)) or 'none'}."
        )
    found: list[LeftOut] = []
    refused: dict[str, str] = {}
    for code in np.unique(known.codes[known.codes >= 0]).tolist():
        inside = np.flatnonzero(known.codes == code)
        outside = np.flatnonzero((known.codes >= 0) & (known.codes != code))
        classes = _usable_classes(source, inside, outside, protocol)
        name = known.names[code]
        low = protocol.n_way[0]
        if len(classes) < low:
            refused[name] = (
                f"{len(classes)} of its classes have {protocol.n_shot[1]} + {protocol.n_query} "
                f"images there and {protocol.n_shot[1]} elsewhere; {low} are needed"
            )
            continue
        chosen = np.isin(_codes(source), classes)
        found.append(LeftOut(name, inside[chosen[inside]], outside[chosen[outside]]))
    if not found:
        listed = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise SamplingError(f"{source.name}: no {column} can be left out ({listed}).")
    return found, refused


def known_columns(source: Source) -> list[str]:
    """Columns of which two groups or more are known."""
    names = ("site", "device", "sex", *sorted(source.index.others), "split", "modality")
    known: Mapping[str, Column] = {name: source.index.column(name) for name in names}
    return [n for n, c in known.items() if len(np.unique(c.codes[c.codes >= 0])) > 1]


class AcrossGroups(TaskSampler):
    """Tasks whose queries are of the group that is left out.

    ``support`` ``inside`` takes the support from that group too, ``outside`` from all others. The
    queries of a task are the same for both, so the two compare task by task. Support and query
    share no patient and no picture.
    """

    def __init__(
        self, source: Source, group: LeftOut, protocol: Protocol, *, outside: bool
    ) -> None:
        kept = protocol.model_copy(update={"drop_small_classes": True})
        self._own = TaskSampler([source.take(group.inside)], kept)
        self.sources = (source,)
        self.protocol = kept
        self.pools = self._own.pools
        self.dropped = self._own.dropped
        self._group, self._outside = group, outside
        codes, places = _codes(source), {}
        for pool in self._own.pools[0]:
            code = source.index.class_names.index(pool.name)
            places[pool.name] = group.outside[codes[group.outside] == code]
        self._elsewhere = places

    def shape(self, batch: int) -> tuple[Target, int]:
        """As within the group."""
        return self._own.shape(batch)

    def draw(self, task: int) -> TaskDraw:
        """Task number ``task``, as rows of the whole source."""
        drawn = self._own.draw(task)
        own = replace(
            drawn,
            support_rows=self._group.inside[drawn.support_rows],
            query_rows=self._group.inside[drawn.query_rows],
        )
        return self._with_support_of_others(own) if self._outside else own

    def _with_support_of_others(self, drawn: TaskDraw) -> TaskDraw:
        groups = self.sources[0].groups
        asked = np.unique(groups[drawn.query_rows])
        random = self.generator(Stream.SHIFT, drawn.task)
        support = []
        for number, name in enumerate(drawn.classes):
            rows = self._elsewhere[name]
            n_shot = int((drawn.support_labels == number).sum())
            free = rows[~np.isin(groups[rows], asked)]
            if len(free) < n_shot:
                raise SamplingError(
                    f"{self.sources[0].name}: class {name!r} has {len(free)} images outside of "
                    f"{self._group.name} whose patients are not asked about; {n_shot} are needed."
                )
            support.append(random.choice(free, n_shot, replace=False))
        return replace(drawn, support_rows=np.concatenate(support))


def _usable_classes(
    source: Source, inside: NDArray[np.int64], outside: NDArray[np.int64], protocol: Protocol
) -> list[int]:
    """Codes of classes with enough images in the group and outside of it."""
    wanted = protocol.model_copy(update={"drop_small_classes": True})
    kept, _ = class_pools(source.take(inside), wanted)
    codes = _codes(source)[outside]
    found = [source.index.class_names.index(pool.name) for pool in kept]
    return [code for code in found if int((codes == code).sum()) >= 2 * protocol.n_shot[1]]


def _codes(source: Source) -> NDArray[np.int32]:
    if source.index.labels is None:
        raise SamplingError(f"{source.name} has values; groups are compared on classes only.")
    return source.index.labels.codes
