"""Grey levels of each site (or device) brought to a common range, by a straight line.

Of all pixels of a group the 2nd and the 98th percentile are found, and mapped to those of a
reference: the mean of the groups' percentiles. So each group's darkest and brightest are alike,
and what lies between is stretched; nothing else of a scanner's look is changed. All images of a
group are looked at, without their labels. Where a group has more of one disease than another, a
part of what tells the disease is levelled out with the scanner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.source import Source
from medmeta.errors import DataError

LOW, HIGH = 0.02, 0.98
_BATCH = 256  # images in memory at once
Range = tuple[float, float]


@dataclass(frozen=True)
class Levels:
    """The ranges (low and high percentile) of a column's groups, and the one they are brought to.

    ``groups`` maps a group's name to its range; of several sources the last one's stands.
    """

    column: str
    reference: Range
    groups: Mapping[str, Range]

    def to_dict(self) -> dict[str, Any]:
        """As JSON; ``from_dict`` gives it back."""
        groups = {name: list(ends) for name, ends in self.groups.items()}
        return {"column": self.column, "reference": list(self.reference), "groups": groups}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Levels:
        """Read what ``to_dict`` wrote, once it is checked."""
        groups = {name: (ends[0], ends[1]) for name, ends in held["groups"].items()}
        low, high = held["reference"]
        return cls(held["column"], (low, high), groups)

    def table(self, group: str) -> NDArray[np.uint8]:
        """What each grey level of a group becomes, ``(256,)``."""
        return _table(self.groups[group], self.reference)


def standardised(
    sources: Sequence[Source], column: str, *, reference: Range | None = None
) -> tuple[list[Source], Levels]:
    """The sources with the grey levels of each group of ``column`` brought to one range.

    A group of one source is another than that of the same name in another. Images whose group is
    not known stay as they are. ``reference`` is that of an earlier call, such as a run's training.
    Raises ``DataError`` where a source has nothing in that column, for a constant image, or for
    sources that were standardised before.
    """
    ranges = [_ranges(source, column) for source in sources]
    if reference is None:
        ends = np.array([r for found in ranges for r in found.values()])
        reference = float(ends[:, 0].mean()), float(ends[:, 1].mean())
    done = [_mapped(s, column, found, reference) for s, found in zip(sources, ranges, strict=True)]
    together = {name: ends for found in ranges for name, ends in found.items()}
    return done, Levels(column, reference, together)


def left_as_they_are(source: Source, column: str) -> int:
    """How many images have no group in this column, and so keep their grey levels."""
    return int(np.count_nonzero(source.index.column(column).codes < 0))


def _ranges(source: Source, column: str) -> dict[str, Range]:
    if source.tables is not None:
        raise DataError(f"{source.name}: its grey levels were brought together already.")
    if source.pixels.dtype != np.uint8:
        raise DataError(f"{source.name}: signals have no grey levels; leave out --standardise.")
    groups = source.index.column(column)
    codes = np.unique(groups.codes[groups.codes >= 0])
    if not len(codes):
        raise DataError(
            f"{source.name}: no image has an entry in the column {column}, by which grey levels "
            "were to be brought together; add that column to its manifest, or leave out "
            "--standardise."
        )
    found: dict[str, Range] = {}
    for code in codes.tolist():
        low, high = _percentiles(source, np.flatnonzero(groups.codes == code))
        if high <= low:
            raise DataError(
                f"{source.name}: all images of {groups.names[code]} are of one grey level, so "
                "they have no range to bring to another; leave them out."
            )
        found[groups.names[code]] = (low, high)
    return found


def _percentiles(source: Source, rows: NDArray[np.intp]) -> Range:
    counts = np.zeros(256, dtype=np.int64)
    for first in range(0, len(rows), _BATCH):
        images = source.gather(rows[first : first + _BATCH])
        counts += np.bincount(images.reshape(-1), minlength=256)
    shares = np.cumsum(counts) / counts.sum()
    low, high = np.searchsorted(shares, [LOW, HIGH])
    return float(low), float(high)


def _mapped(source: Source, column: str, ranges: Mapping[str, Range], reference: Range) -> Source:
    groups = source.index.column(column)
    tables = np.stack([_table(ends, reference) for ends in ranges.values()])
    numbers = {name: number for number, name in enumerate(ranges)}
    of_code = np.array([numbers.get(name, -1) for name in groups.names] + [-1])
    return replace(source, tables=tables, table_rows=of_code[groups.codes])


def _table(ends: Range, reference: Range) -> NDArray[np.uint8]:
    scale = (reference[1] - reference[0]) / (ends[1] - ends[0])
    levels = (np.arange(256) - ends[0]) * scale + reference[0]
    return np.asarray(np.rint(levels).clip(0, 255), dtype=np.uint8)
