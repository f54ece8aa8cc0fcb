"""Sources without pictures, for tests of what is drawn from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medmeta.data.index import Column, SourceIndex
from medmeta.data.source import Source


def coded(codes: Sequence[int] | np.ndarray, prefix: str) -> Column:
    """A column of numbered names; -1 is not known."""
    codes = np.asarray(codes, dtype=np.int32)
    return Column(codes, tuple(f"{prefix}{i}" for i in range(int(codes.max(initial=-1)) + 1)))


def table(labels=None, *, patients=None, pictures=None, values=None, name="clinic") -> Source:
    """A source of one-pixel images; equal ``pictures`` are the same picture."""
    n = len(values if labels is None else labels)
    unknown = Column.unknown(n)
    index = SourceIndex(
        name=name,
        root=None,
        paths=(),
        array_rows=np.arange(n),
        labels=None if labels is None else coded(labels, "class "),
        values=None if values is None else np.asarray(values, np.float32),
        patients=unknown if patients is None else coded(patients, "patient "),
        sites=unknown,
        modalities=unknown,
        splits=unknown,
        file_sizes=np.full(n, -1),
    )
    hashes = np.arange(n) if pictures is None else np.asarray(pictures)
    pixels = (np.arange(n) % 256).astype(np.uint8).reshape(n, 1, 1, 1)
    return Source(index, pixels, np.arange(n), hashes.astype(np.uint64))
