"""A source: the table of its images and their decoded pixels, ready to be drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.groups import linked_groups
from medmeta.data.index import Column, SourceIndex
from medmeta.data.rows import take_rows
from medmeta.errors import DataError


@dataclass(frozen=True)
class Source:
    """A data set that tasks are drawn from.

    ``pixels`` is uint8 ``(N, C, H, W)``, memory-mapped where it was decoded from files (float16
    ``(N, C, L)`` of signals);
    ``pixel_rows`` ``(n,)`` says which of them each row of the table is, so that part of a source is
    a view. ``hashes`` ``(n,)`` uint64 is the content of each picture as it was read, before
    resizing: equal pictures have equal hashes. Where ``tables`` uint8 ``(k, 256)`` are given, the
    grey levels of each row are replaced by those of the table that ``table_rows`` ``(n,)`` names
    (-1: left as they are). ``beside``: what learners are given beside the pictures, float32
    ``(n, D)`` by name: ``record`` (NaN where it is not known), and which modalities are
    ``present``. ``pixels`` have no channels where there are no pictures. ``masks`` uint8
    ``(N, *space)`` lie as ``pixels`` do: 0 is background, 1 and on are ``index.structures``, and
    255 is not labelled. ``part_of``: the source whose rows these are.
    """

    index: SourceIndex
    pixels: NDArray[Any]
    pixel_rows: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    tables: NDArray[np.uint8] | None = None
    table_rows: NDArray[np.int64] | None = None
    beside: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    masks: NDArray[np.uint8] | None = None
    part_of: tuple[Source, NDArray[np.intp]] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_arrays(
        cls,
        name: str,
        pixels: NDArray[Any],
        labels: Sequence[str] | None = None,
        *,
        values: NDArray[np.float32] | None = None,
        patients: Sequence[str | None] | None = None,
        modality: str | None = None,
    ) -> Source:
        """A source in memory, from ``pixels`` ``(n, C, H, W)`` and a text label or value of each.

        Raises ``DataError`` where the lengths differ, or where both or neither of labels and
        values are given.
        """
        from medmeta.data.preprocess import content_hash  # here: it pulls in the image library

        n = len(pixels)
        if (labels is None) == (values is None):
            raise DataError(f"{name}: give either labels or values, not both and not neither.")
        given = labels if labels is not None else values
        if given is None or len(given) != n:
            raise DataError(f"{name}: {n} images, but another number of labels or values.")
        index = SourceIndex(
            name=name,
            root=None,
            paths=(),
            array_rows=np.arange(n, dtype=np.int64),
            labels=None if labels is None else Column.from_texts(list(labels)),
            values=None if values is None else np.asarray(values, dtype=np.float32),
            patients=Column.unknown(n) if patients is None else Column.from_texts(list(patients)),
            sites=Column.unknown(n),
            modalities=Column.unknown(n) if modality is None else Column.from_texts([modality] * n),
            splits=Column.unknown(n),
            file_sizes=np.full(n, -1, dtype=np.int64),
        )
        hashes = np.fromiter((content_hash(p) for p in pixels), dtype=np.uint64, count=n)
        return cls(index, pixels, np.arange(n, dtype=np.int64), hashes)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def name(self) -> str:
        """Name of the source, as it stands in protocols and results."""
        return self.index.name

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """``(n,)``: rows that share a patient, a volume or a picture have the same number.

        Support and query never share one. Rows of a part that only an image outside it links (two
        patients with one picture at another site) stay linked.
        """
        if self.part_of is not None:
            whole, rows = self.part_of
            return np.unique(whole.groups[rows], return_inverse=True)[1].astype(np.int64)
        return linked_groups(self.index.patients.codes, self.hashes, self.volumes)

    @property
    def volumes(self) -> NDArray[np.int32] | None:
        """``(n,)``: the volume that each row is a slice of, -1 for none; None without volumes."""
        column = self.index.others.get("volume")
        return None if column is None else column.codes

    @property
    def n_volumes(self) -> int:
        """How many volumes its rows are slices of."""
        codes = self.volumes
        return 0 if codes is None else len(np.unique(codes[codes >= 0]))

    def take(self, rows: NDArray[np.intp]) -> Source:
        """The rows given, as a view of the same pixels."""
        return Source(
            self.index.take(rows),
            self.pixels,
            self.pixel_rows[rows],
            self.hashes[rows],
            self.tables,
            None if self.table_rows is None else self.table_rows[rows],
            {name: values[rows] for name, values in self.beside.items()},
            self.masks,
            part_of=(self, rows),
        )

    def with_classes(self, names: Sequence[str]) -> Source:
        """The images of these classes only; other classes' names are gone too.

        Raises ``DataError`` for a name that the source does not have.
        """
        labels = self.index.labels
        missing = [n for n in names if labels is None or n not in labels.names]
        if labels is None or missing:
            raise DataError(f"{self.name} has no class called {', '.join(missing) or names}.")
        kept = np.array([labels.names.index(n) for n in names])
        rows = np.flatnonzero(np.isin(labels.codes, kept))
        part = self.take(rows)
        texts = [labels.names[c] for c in labels.codes[rows]]
        return replace(part, index=replace(part.index, labels=Column.from_texts(texts)))

    def gather(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Pixels of some rows, ``(*rows.shape, C, H, W)``, copied out of the store.

        However many rows are read of a large store, none of its file stays in memory; rows in
        ascending order are read fastest.
        """
        flat = rows.reshape(-1)
        taken = take_rows(self.pixels, self.pixel_rows[flat])
        if self.tables is not None and self.table_rows is not None:
            numbers = self.table_rows[flat]
            for number in np.unique(numbers[numbers >= 0]):
                of_it = numbers == number
                taken[of_it] = self.tables[number][taken[of_it]]
        return taken.reshape(*rows.shape, *taken.shape[1:])

    def gather_masks(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Masks of some rows, ``(*rows.shape, *space)``; raises ``DataError`` without masks."""
        if self.masks is None:
            raise DataError(f"{self.name} has no masks; give each image a mask.")
        taken = take_rows(self.masks, self.pixel_rows[rows.reshape(-1)])
        return taken.reshape(*rows.shape, *taken.shape[1:])

    @cached_property
    def marked(self) -> NDArray[np.bool_]:
        """``(n, K + 1)``: which of the background and the ``K`` structures each mask holds."""
        found = np.zeros((len(self), len(self.index.structures) + 1), dtype=bool)
        for row in range(len(self)):
            values = np.unique(self.gather_masks(np.array([row])))
            found[row, values[values < found.shape[1]]] = True
        return found
