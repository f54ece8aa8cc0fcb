"""Parts of a source that share no patient, no picture, no site or no class; and leak checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.errors import DataError, SettingsError

Rows = NDArray[np.intp]


def split_classes(
    names: Sequence[str], *, fraction: float | None = None, count: int | None = None, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Draw classes to hold out: ``(kept, held_out)``, each sorted and neither empty.

    Give either the ``fraction`` to hold out or their ``count``. The same names and seed give the
    same split, in whatever order the names come.

    >>> kept, held_out = split_classes(["a", "b", "c", "d"], count=1, seed=0)
    >>> len(kept), len(held_out)
    (3, 1)
    """
    ordered = sorted(set(names))
    if len(ordered) < 2:
        raise DataError(f"{len(ordered)} classes cannot be split; two are needed at least.")
    if (fraction is None) == (count is None):
        raise SettingsError("give either the fraction or the count of classes to hold out.")
    if fraction is not None:
        _check_fraction(fraction)
        count = min(max(round(fraction * len(ordered)), 1), len(ordered) - 1)
    if count is None or not 1 <= count < len(ordered):
        raise SettingsError(
            f"{count} of {len(ordered)} classes cannot be held out; give 1 to {len(ordered) - 1}."
        )
    drawn = set(_generator(seed).permutation(len(ordered))[:count].tolist())
    kept = tuple(name for i, name in enumerate(ordered) if i not in drawn)
    return kept, tuple(name for i, name in enumerate(ordered) if i in drawn)


def split_rows(
    groups: NDArray[np.int64],
    labels: NDArray[np.int32] | None,
    fraction: float,
    seed: int,
) -> tuple[Rows, Rows]:
    """Split rows so that no group is on both sides: ``(kept, held_out)``, each ascending.

    ``groups`` ``(n,)`` as of ``Source.groups``; ``labels`` ``(n,)`` codes, or None to split by
    number alone. Groups are dealt largest first, each to the side that brings every class nearest
    to ``fraction`` held out; in which order equals come is drawn.

    >>> kept, held_out = split_rows(np.array([0, 0, 1, 2]), np.zeros(4, np.int32), 0.5, seed=0)
    >>> kept.tolist(), held_out.tolist()
    ([2, 3], [0, 1])
    """
    _check_fraction(fraction)
    numbers, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(numbers) < 2:
        raise DataError(
            "the rows cannot be split: they are all linked by a patient or an identical picture."
        )
    codes = np.zeros(len(groups), np.int64)
    if labels is not None:
        codes = np.unique(labels, return_inverse=True)[1]
    totals = np.bincount(codes).astype(np.float64)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(sizes)[:-1])
    shuffled = _generator(seed).permutation(len(numbers))
    wanting = fraction * totals  # images of each class that are still to be held out
    held = np.zeros(len(numbers), dtype=bool)
    gains = np.zeros(len(numbers))
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        present, count = np.unique(codes[members[group]], return_counts=True)
        # How much the squared, relative distance to what is wanted shrinks if it is held out.
        gain = ((2 * wanting[present] - count) * count / totals[present] ** 2).sum()
        gains[group], held[group] = gain, gain > 0
        if held[group]:
            wanting[present] -= count
    if not held.any():
        held[np.argmax(gains)] = True
    elif held.all():
        held[np.argmin(gains)] = False
    side = held[inverse]
    return np.flatnonzero(~side), np.flatnonzero(side)


def split_by(codes: NDArray[np.int32], held_out: Sequence[int]) -> tuple[Rows, Rows]:
    """Split rows by a column, such as the site: ``(kept, held_out)``, each ascending.

    ``codes`` ``(n,)``. Rows where the column is not known (-1) are in neither: they could belong
    to either. Raises ``DataError`` for a code that no row has, and where a side would be empty.
    """
    chosen = np.unique(np.asarray(held_out, dtype=np.int64))
    missing = [int(c) for c in chosen if c < 0 or not (codes == c).any()]
    if missing or not len(chosen):
        raise DataError(f"no row has the code {missing[0] if missing else '(none was given)'}.")
    side = np.isin(codes, chosen)
    kept = np.flatnonzero(~side & (codes >= 0))
    if not len(kept):
        raise DataError("every row whose place is known would be held out; hold out fewer.")
    return kept, np.flatnonzero(side)


def of_split(source: Source, name: str) -> tuple[Source, str]:
    """The images of one split that the source itself names, and what leaks into them, in words.

    Raises ``DataError`` where there is no such split.
    """
    splits = source.index.splits
    if name not in splits.names or not (splits.codes == splits.names.index(name)).any():
        names = ", ".join(splits.names[code] for code in np.unique(splits.codes) if code >= 0)
        raise DataError(
            f"{source.name}: has no split {name!r}; " + (f"there is {names}." if names else
            "it names no splits (a manifest does so in a column split).")
        )  # fmt: skip
    chosen = splits.codes == splits.names.index(name)
    part, rest = source.take(np.flatnonzero(chosen)), source.take(np.flatnonzero(~chosen))
    if (labels := part.index.labels) is not None:  # without the names of classes that are not in it
        present = replace(part.index, labels=Column.from_texts(labels.texts()))
        part = replace(part, index=present)
    shared = overlap(rest, part)
    if not len(shared.rows_b):
        return part, ""
    return part, (
        f"warning: {len(shared.rows_b)} of the {len(part)} images of its split {name} are also in "
        f"its other splits, or of a patient who is: {shared.shared_pictures} pictures, "
        f"{shared.shared_patients} patients."
    )


@dataclass(frozen=True)
class Overlap:
    """What two sources share: distinct pictures, patients, and the rows of the second affected."""

    shared_pictures: int
    shared_patients: int
    rows_b: Rows


def overlap(a: Source, b: Source) -> Overlap:
    """Find what leaks from source ``a`` into ``b``: identical pictures, and common patients.

    Patients are compared between sources of one name only: elsewhere the same number is another
    person.
    """
    pictures = np.intersect1d(a.hashes, b.hashes)
    leaking = np.isin(b.hashes, pictures)
    patients: set[str] = set()
    if a.name == b.name:
        patients = _present(a) & _present(b)
        names = np.array([name in patients for name in b.index.patients.names] + [False])
        leaking |= names[b.index.patients.codes]  # -1, not known, finds the last: False
    return Overlap(len(pictures), len(patients), np.flatnonzero(leaking))


def _present(source: Source) -> set[str]:
    column = source.index.patients
    return {column.names[code] for code in np.unique(column.codes) if code >= 0}


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise SettingsError(f"a fraction lies between 0 and 1, and is neither; not {fraction}.")


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))
