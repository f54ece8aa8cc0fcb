"""The table that every source becomes: columns, not objects.

A row is an image. Text columns that repeat (patient, site, modality) are kept as small integers
with a list of the distinct texts, so that ten million rows cost memory per row, not per image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from medmeta.data.scan import Scan


@dataclass(frozen=True)
class Column:
    """A text column: ``codes`` ``(n,)`` int32 into ``names``; -1 where it is not known.

    >>> Column.from_texts(["b", None, "a"]).texts()
    ['b', None, 'a']
    """

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    @classmethod
    def from_texts(cls, texts: Sequence[str | None]) -> Column:
        """Encode texts; names are sorted, so equal data give equal codes."""
        names = sorted({t for t in texts if t is not None})
        code = {name: i for i, name in enumerate(names)}
        codes = np.fromiter(
            (-1 if t is None else code[t] for t in texts), dtype=np.int32, count=len(texts)
        )
        return cls(codes, tuple(names))

    @classmethod
    def unknown(cls, n: int) -> Column:
        """A column in which nothing is known."""
        return cls(np.full(n, -1, dtype=np.int32), ())

    @property
    def known(self) -> bool:
        """Whether every row has a text."""
        return bool(len(self.codes)) and bool((self.codes >= 0).all())

    def take(self, rows: NDArray[np.intp]) -> Column:
        """The column of some rows (names are kept, also unused ones)."""
        return Column(self.codes[rows], self.names)

    def texts(self) -> list[str | None]:
        """Decode."""
        return [None if c < 0 else self.names[c] for c in self.codes]


@dataclass(frozen=True)
class Problem:
    """One thing found wrong (or worth saying) about a source.

    ``severity`` is ``"error"`` (it stops learning until it is mended or skipped) or ``"warning"``.
    ``where`` names the file, row or class; ``what`` says what is wrong and what to do, and names
    no file, so that it may be kept. ``left_out``: the source goes without it.
    """

    severity: str
    where: str
    what: str
    left_out: bool = False


@dataclass(frozen=True)
class SourceIndex:
    """An immutable table of images with what is known of each.

    Exactly one of ``labels`` and ``values`` is set, or ``structures``, the names of what masks mark
    1, 2, ...; then neither needs to be. ``paths`` are absolute, and empty for a source
    that has its pixels in one array (npz, synthetic): then ``array_rows`` say which row of it.
    ``file_sizes`` are bytes, -1 where there is no file. ``splits`` is the manifest's own split.
    ``others`` are further columns by name, such as ``device``, ``sex`` and ``volume`` (rows of one
    volume are its slices); ``column`` finds these and the named ones alike. ``scans`` are empty
    where no row lies in a DICOM or NIfTI file; else they say of each row in which, None for a
    picture, and ``array_rows`` which slice of it, once the source's slices were chosen. ``texts``
    are the entries of columns that records are made of; ``parts`` of each row the files of its
    modalities, where a source has several. ``chosen`` are the slices that are used of each row's
    scan; empty, or None, where the preprocessing says which.
    """

    name: str
    root: Path | None
    paths: tuple[Path, ...]
    array_rows: NDArray[np.int64]
    labels: Column | None
    values: NDArray[np.float32] | None
    patients: Column
    sites: Column
    modalities: Column
    splits: Column
    file_sizes: NDArray[np.int64]
    problems: tuple[Problem, ...] = field(default=())
    others: Mapping[str, Column] = field(default_factory=dict)
    scans: tuple[Scan | None, ...] = ()
    texts: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    parts: tuple[tuple[Path | Scan | None, ...], ...] = ()
    structures: tuple[str, ...] = ()
    chosen: tuple[tuple[int, ...] | None, ...] = ()

    def __len__(self) -> int:
        return len(self.file_sizes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty for a source of values."""
        return self.labels.names if self.labels is not None else ()

    def column(self, name: str) -> Column:
        """The column called ``patient``, ``site``, ``modality``, ``split``, or as in ``others``.

        Nothing is known in a column that is not there.
        """
        named = {
            "patient": self.patients,
            "site": self.sites,
            "modality": self.modalities,
            "split": self.splits,
        }
        found = named.get(name) or self.others.get(name)
        return Column.unknown(len(self)) if found is None else found

    def take(self, rows: NDArray[np.intp]) -> SourceIndex:
        """The same table with these rows only."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in rows) if self.paths else (),
            array_rows=self.array_rows[rows],
            labels=None if self.labels is None else self.labels.take(rows),
            values=None if self.values is None else self.values[rows],
            patients=self.patients.take(rows),
            sites=self.sites.take(rows),
            modalities=self.modalities.take(rows),
            splits=self.splits.take(rows),
            file_sizes=self.file_sizes[rows],
            others={name: column.take(rows) for name, column in self.others.items()},
            scans=tuple(self.scans[i] for i in rows) if self.scans else (),
            texts={name: tuple(t[i] for i in rows) for name, t in self.texts.items()},
            parts=tuple(self.parts[i] for i in rows) if self.parts else (),
            chosen=tuple(self.chosen[i] for i in rows) if self.chosen else (),
        )
