"""Folds of a support set: repeated, stratified by class, and no patient on both sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medmeta.trust.splitting import stratified, stratified_by_group

MOST_FOLDS = 10
_ATTEMPTS = 20

Numbers = NDArray[np.int64]


def class_groups(labels: Numbers, groups: Numbers) -> Numbers:
    """How many groups (patients) each class ``0 … K-1`` has images of.

    >>> class_groups(np.array([0, 0, 1]), np.array([7, 7, 8])).tolist()
    [1, 1]
    """
    pairs = np.unique(np.stack([labels, groups], 1), axis=0)[:, 0]
    return np.bincount(pairs, minlength=int(labels.max(initial=-1)) + 1)


def cannot_fold(labels: Numbers, groups: Numbers, names: tuple[str, ...]) -> str:
    """Why images cannot be held out in turn; empty where they can.

    Every class must stay learnable while any patient is left out.
    """
    counts = class_groups(labels, groups)
    few = [names[i] for i, n in enumerate(counts) if n < 2]
    if not few:
        return ""
    one_each = bool((np.bincount(labels, minlength=len(names)) < 2).any())
    whole = len(np.unique(groups)) < 2
    if whole and len(labels) > 1 and not one_each:
        return (
            "all images are of one patient (or are one picture), so none can be held out to test "
            "with; add images of other patients"
        )
    what = "image" if one_each else "patient"
    return (
        f"{', '.join(few)}: with one {what} of a class nothing is left to learn it from while it "
        f"is tested; add images of other patients, at least two of each class"
    )


def number_of_folds(labels: Numbers, groups: Numbers) -> int:
    """One group of the smallest class to a fold where it has four or more, at most ten."""
    counts = class_groups(labels, groups)
    wanted = counts.min() if counts.min() >= 4 else min(counts.max(), len(np.unique(groups)))
    return int(np.clip(wanted, 2, MOST_FOLDS))


def draw_folds(
    labels: Numbers, groups: Numbers, *, n_folds: int, repeats: int, seed: int = 0
) -> Numbers:
    """``(repeats, n)``: the fold that each image is held out in, as scikit-learn's splitters say.

    Images of one group share a fold; what is learned from has every class. Fewer rows come back
    where such folds are not found, none where there are none at all.

    >>> folds = draw_folds(np.array([0, 0, 1, 1]), np.arange(4), n_folds=2, repeats=3)
    >>> sorted(np.bincount(folds[0]).tolist())
    [2, 2]
    """
    found: list[Numbers] = []
    for repeat in range(repeats):
        for attempt in range(_ATTEMPTS):
            state = seed % 2**20 + 7919 * repeat + 104729 * attempt
            numbers = _one(labels, groups, n_folds, state)
            if numbers is not None:
                found.append(numbers)
                break
    return np.array(found, dtype=np.int64).reshape(len(found), len(labels))


def _one(labels: Numbers, groups: Numbers, n_folds: int, state: int) -> Numbers | None:
    if len(np.unique(groups)) == len(groups):
        numbers = stratified(labels, n_folds, state)
    else:
        numbers = stratified_by_group(labels, groups, n_folds, state)
    if numbers is None:
        return None
    n_classes = int(labels.max()) + 1
    for fold in np.unique(numbers):
        if len(np.unique(labels[numbers != fold])) < n_classes:
            return None
    return numbers
