"""Pictures that a source has more than once, wholly or nearly, and whether that would mislead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import SourceIndex
from medmeta.data.near_duplicates import NearPairs, Thumbnails, near_pairs
from medmeta.data.source import Source
from medmeta.data.sources import row_name

_SHOWN = 10


@dataclass(frozen=True)
class Duplicates:
    """Sets of identical pictures.

    ``groups`` counts the sets, ``images`` the pictures in them; ``across_classes`` the sets whose
    pictures are labelled differently. ``pairs`` names two of a set, differently labelled first.
    """

    groups: int
    images: int
    within_class: int
    across_classes: int
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of pictures that are nearly the same.

    ``across_classes`` counts those labelled differently, ``across_splits`` those of different
    splits, ``between_patients`` those of different patients (both known). ``examples`` names two
    and says how alike they are, those that mislead first. ``looked`` is False where there are too
    many pictures to look; ``all_found``, where there are more pairs than are counted.
    """

    pairs: int
    across_classes: int
    across_splits: int
    between_patients: int
    examples: tuple[tuple[str, str, float], ...]
    looked: bool = True
    all_found: bool = True


def duplicates_of(index: SourceIndex, hashes: NDArray[np.uint64]) -> Duplicates:
    """Sets of identical pictures, by the content hashes ``(n,)`` of a table's rows."""
    targets = index.labels.codes if index.labels is not None else index.values
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    groups = [g for g in np.split(order, np.cumsum(counts)[:-1]) if len(g) > 1]
    groups.sort(key=lambda g: int(g[0]))
    across: list[tuple[int, int]] = []
    within: list[tuple[int, int]] = []
    for group in groups:
        others = group[targets[group] != targets[group[0]]] if targets is not None else group[:0]
        if len(others):
            across.append((int(group[0]), int(others[0])))
        else:
            within.append((int(group[0]), int(group[1])))
    pairs = tuple((row_name(index, a), row_name(index, b)) for a, b in (across + within)[:_SHOWN])
    return Duplicates(len(groups), sum(map(len, groups)), len(within), len(across), pairs)


def near_duplicates_of(
    index: SourceIndex, thumbnails: Thumbnails, hashes: NDArray[np.uint64]
) -> NearDuplicates:
    """Pairs of nearly identical pictures among a table's rows."""
    found = near_pairs(thumbnails, hashes)
    a, b = found.rows.T
    targets = index.labels.codes if index.labels is not None else None
    labelled = np.zeros(len(a), bool) if targets is None else targets[a] != targets[b]
    splits = _differ(index.splits.codes, a, b)
    patients = _differ(index.patients.codes, a, b)
    worst = np.lexsort((-found.alike, ~patients, ~splits, ~labelled))[:_SHOWN]
    examples = tuple(
        (row_name(index, int(a[i])), row_name(index, int(b[i])), round(float(found.alike[i]), 4))
        for i in worst
    )
    counts = int(labelled.sum()), int(splits.sum()), int(patients.sum())
    return NearDuplicates(len(a), *counts, examples, found.looked, found.whole)


def nearly_in_both(
    first: tuple[Thumbnails, NDArray[np.uint64]], second: tuple[Thumbnails, NDArray[np.uint64]]
) -> int:
    """How many pictures of the second source are also in the first, wholly or nearly."""
    known = np.isin(second[1], first[1])
    thumbnails = np.concatenate([first[0], second[0]])
    sides = np.repeat(np.arange(2), [len(first[1]), len(second[1])])
    found: NearPairs = near_pairs(thumbnails, np.concatenate([first[1], second[1]]), sides=sides)
    known[found.rows[:, 1] - len(first[1])] = True
    return int(np.isin(second[1], second[1][known]).sum())  # of equal ones a pair names one


def unlinked_near_pairs(source: Source, thumbnails: Thumbnails) -> NDArray[np.int64]:
    """Pairs ``(k, 2)`` of nearly identical rows that no patient, volume or picture links.

    One may be learned from and the other asked about.
    """
    found = near_pairs(thumbnails, source.hashes).rows
    groups = source.groups
    unlinked: NDArray[np.int64] = found[groups[found[:, 0]] != groups[found[:, 1]]]
    return unlinked


def warnings_of(near: NearDuplicates) -> Sequence[str]:
    """What of it would mislead, in words."""
    said = []
    if not near.looked:
        return ["there are too many pictures to look for nearly identical ones."]
    more = "" if near.all_found else "at least "
    if n := near.across_classes:
        said.append(f"nearly identical pictures under different labels: {more}{n}.")
    if n := near.across_splits:
        said.append(f"nearly identical pictures in different splits: {more}{n}.")
    if n := near.between_patients:
        said.append(f"nearly identical pictures of different patients: {more}{n}; is it one?")
    return said


def _differ(
    codes: NDArray[np.int32], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Where both are known and differ."""
    return np.asarray((codes[a] >= 0) & (codes[b] >= 0) & (codes[a] != codes[b]))
