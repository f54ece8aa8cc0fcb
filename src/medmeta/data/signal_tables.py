"""Signals as tables: CSV or TSV with a column for each lead, a row for each sample."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from medmeta.data.recording import MOST_LEADS, RATES, Recording, in_millivolts
from medmeta.errors import UnreadableImageError

TABLE_SUFFIXES = frozenset((".csv", ".tsv"))
_MOST_BYTES = 200_000_000
_SNIFFED = 65_536
_TIMES = {"time": 1.0, "t": 1.0, "seconds": 1.0, "sec": 1.0, "ms": 1e-3, "milliseconds": 1e-3}
_UNIT = re.compile(r"^(?P<name>.*?)\s*[\[(]\s*(?P<unit>[^\])]*)[\])]$")
_SAID = re.compile(
    r"#\s*(sampling[ _]?)?(rate|frequency)\s*[:=]\s*(?P<rate>[-+.\deE]+)", re.IGNORECASE
)
_EMPTY = frozenset(("", "na", "nan", "null", "none"))


@dataclass(frozen=True)
class TableHead:
    """The columns of a table, its delimiter, and the samples per second that it says."""

    columns: tuple[str, ...]
    delimiter: str
    rate: float | None


def is_signal_table(path: Path) -> bool:
    """Whether a table holds numbers alone below its header, as a signal does and no manifest."""
    if path.suffix.lower() not in TABLE_SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            begun = file.read(_SNIFFED).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return False
    rows = [line for line in begun.splitlines() if line.strip() and not line.startswith("#")]
    if len(rows) < 2:
        return False
    names, first = (row.split(_delimiter(rows[0])) for row in rows[:2])
    return not all(map(_is_number, names)) and all(map(_is_number, first))


def read_head(path: Path) -> TableHead:
    """The columns of a table; raises ``UnreadableImageError`` with the reason alone."""
    with _opened(path) as file:
        return _head(file)


def read_table(path: Path, rate: float | None) -> Recording:
    """A table as a recording; ``rate`` is what samples per second are where it says none.

    Raises ``UnreadableImageError`` with the reason alone.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise UnreadableImageError(
            f"is a table of more than {_MOST_BYTES / 1e6:,.0f} MB; write it as a WFDB record."
        )
    with _opened(path) as file:
        head = _head(file)
        packed = array("d")  # a quarter of the memory that a list of numbers takes
        for row in _rows(csv.reader(file, delimiter=head.delimiter), len(head.columns)):
            packed.extend(row)
    values = np.frombuffer(packed).reshape(-1, len(head.columns))
    found = [_named(column) for column in head.columns]
    times = [i for i, (name, _) in enumerate(found) if name.lower() in _TIMES]
    leads = [i for i in range(len(found)) if i not in times and not _counts(found[i][0])]
    if not leads:
        raise UnreadableImageError("has no column of a lead; give one for each, with its name.")
    told = _rate_of(values[:, times[0]], *found[times[0]]) if times else head.rate
    factors = np.array([in_millivolts(found[i][1]) for i in leads])
    return Recording(
        tuple(found[i][0] for i in leads),
        _believed(told if told is not None else rate),
        (values[:, leads] * factors).T.astype(np.float32),
    )


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UnreadableImageError(f"cannot be read ({error.strerror}).") from None


def _head(file: Iterable[str]) -> TableHead:
    rate = None
    try:
        for line in file:
            if said := _SAID.match(line):
                rate = float(said["rate"])
            if line.strip() and not line.startswith("#"):
                delimiter = _delimiter(line)
                columns = tuple(next(csv.reader([line], delimiter=delimiter)))
                break
        else:
            raise UnreadableImageError("is empty; it should have a column for each lead.")
    except (UnicodeDecodeError, csv.Error, ValueError):
        raise UnreadableImageError("is no table of text that can be read.") from None
    if len(columns) > MOST_LEADS:
        raise UnreadableImageError(f"has {len(columns)} columns, more than {MOST_LEADS} are read.")
    return TableHead(tuple(name.strip() for name in columns), delimiter, rate)


def _rows(table: Iterable[list[str]], n: int) -> Iterator[list[float]]:
    """The numbers of each row."""
    number = 0
    try:
        for number, row in enumerate(table, start=1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) != n:
                raise UnreadableImageError(
                    f"is cut short or damaged: sample {number} has {len(row)} values, not {n}."
                )
            yield [np.nan if cell.strip().lower() in _EMPTY else float(cell) for cell in row]
    except ValueError:
        raise UnreadableImageError(
            f"holds something that is no number in sample {number}; leave unknown values blank."
        ) from None
    except csv.Error:
        raise UnreadableImageError(f"is damaged at sample {number}.") from None


def _named(column: str) -> tuple[str, str]:
    """A column's name, and the unit that stands behind it in brackets."""
    found = _UNIT.match(column)
    return (found["name"], found["unit"]) if found else (column, "mV")


def _counts(name: str) -> bool:
    return name.lower() in ("", "sample", "samples", "index")


def _rate_of(times: NDArray[np.float64], name: str, unit: str) -> float:
    """Samples per second by a column of times, in seconds unless it says milliseconds."""
    steps = np.diff(times)
    if not len(steps) or not np.isfinite(steps).all() or not (steps > 0).all():
        raise UnreadableImageError(
            "has times that do not rise from sample to sample; mend or leave out the column."
        )
    step = float(np.median(steps))
    if steps.max() > 1.5 * step:
        raise UnreadableImageError("has gaps in its times; write a row for each sample.")
    return 1 / (step * _TIMES.get(unit.lower(), _TIMES[name.lower()]))


def _believed(rate: float | None) -> float:
    if rate is None or rate == 0:
        raise UnreadableImageError(
            "does not say its samples per second: add a column time (in seconds) or a first line "
            "'# rate: 500', or say --csv-rate 500."
        )
    if not RATES[0] <= rate <= RATES[1]:
        raise UnreadableImageError(f"has {rate:g} samples per second, which cannot be.")
    return rate


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _is_number(cell: str) -> bool:
    text = cell.strip().strip('"').lower()
    if text in _EMPTY:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
