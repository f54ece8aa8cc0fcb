"""Which images belong together: those of one patient or volume, or of the same picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def linked_groups(
    patients: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    volumes: NDArray[np.int32] | None = None,
) -> Numbers:
    """Number the groups of rows linked by a patient, by a volume or by an identical picture.

    ``patients`` ``(n,)`` are codes, -1 where the patient is not known (such a row is linked by its
    picture only); ``hashes`` ``(n,)``; ``volumes`` ``(n,)`` are codes, -1 for a row that is no
    slice. Links are followed through: if rows 0 and 1 are one patient and rows 1 and 2 one picture,
    all three are one group. Numbers rise with each group's first row.

    >>> linked_groups(np.array([7, 7, -1], np.int32), np.array([1, 2, 2], np.uint64)).tolist()
    [0, 0, 0]
    """
    leaders = _first_rows(patients)
    repeated = repeated_rows(hashes)
    if len(repeated):
        leaders = _linked(leaders, repeated, hashes[repeated])
    if volumes is not None and len(slices := np.flatnonzero(volumes >= 0)):
        leaders = _linked(leaders, slices, volumes[slices])
    leads = leaders == np.arange(len(leaders))
    numbers: Numbers = (np.cumsum(leads) - 1)[leaders]
    return numbers


def repeated_rows(hashes: NDArray[np.uint64]) -> Numbers:
    """Rows whose picture another row has too.

    >>> repeated_rows(np.array([5, 3, 5, 4], np.uint64)).tolist()
    [0, 2]
    """
    ordered = np.sort(hashes)  # far cheaper than an inverse, which few sources need
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return np.flatnonzero(np.isin(hashes, twice)) if len(twice) else np.empty(0, np.int64)


def _first_rows(patients: NDArray[np.int32]) -> Numbers:
    """``(n,)``: the first row of each row's patient; where that is not known, the row itself."""
    rows = np.arange(len(patients))
    first = np.empty(int(patients.max(initial=-1)) + 2, dtype=np.int64)
    first[patients[::-1]] = rows[::-1]  # of several rows the last written stays: the first one
    return np.where(patients >= 0, first[patients], rows)


def _linked(
    leaders: Numbers, repeated: Numbers, pictures: NDArray[np.uint64] | NDArray[np.int32]
) -> Numbers:
    """The leaders, once groups that have a picture (or a volume) in common are one.

    ``pictures`` are those of the rows in ``repeated``.
    """
    met, place = np.unique(leaders[repeated], return_inverse=True)
    _, first, picture = np.unique(pictures, return_index=True, return_inverse=True)
    # A graph over the leaders met: each is tied to that of the picture's first row.
    least = _least_linked(len(met), place, place[first[picture]])
    leader = np.arange(len(leaders))
    leader[met] = met[least]  # the smallest of each component, for they rise
    merged: Numbers = leader[leaders]
    return merged


def _least_linked(n: int, one: Numbers, other: Numbers) -> Numbers:
    """Of each of ``n`` points the least that it is linked to, by ties from ``one`` to ``other``.

    Each round hooks the roots of both ends onto the smaller and shortens the ways to the roots
    (Shiloach and Vishkin 1982), so that rounds are few however long a chain is.

    >>> _least_linked(4, np.array([3, 2]), np.array([2, 0])).tolist()
    [0, 1, 0, 0]
    """
    root = np.arange(n)
    while True:
        ends = root[one], root[other]
        low, high = np.minimum(*ends), np.maximum(*ends)
        if not (low < high).any():
            return root
        np.minimum.at(root, high, low)
        while not np.array_equal(shorter := root[root], root):
            root = shorter
