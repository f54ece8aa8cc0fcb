"""Stratified folds as scikit-learn draws them, without the second that it takes to import."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Array = NDArray[np.float64]


def stratified(labels: Numbers, n_folds: int, seed: int) -> Numbers | None:
    """The fold ``(n,)`` of each image as of ``StratifiedKFold(shuffle=True)``; None of too few.

    Classes are dealt to the folds in turn, in the order in which they come up.

    >>> np.bincount(stratified(np.array([0, 0, 1, 1]), 2, 0)).tolist()
    [2, 2]
    """
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    classes = np.argsort(np.argsort(first))[place]  # in the order in which they come up
    counts = np.bincount(classes)
    if (n_folds > counts).all() or n_folds > len(labels):
        return None
    chance = np.random.RandomState(seed)
    ordered = np.sort(classes)
    dealt = [np.bincount(ordered[i::n_folds], minlength=len(first)) for i in range(n_folds)]
    folds = np.empty(len(labels), dtype=np.int64)
    for number, own in enumerate(np.array(dealt).T):
        those = np.arange(n_folds).repeat(own)
        chance.shuffle(those)
        folds[classes == number] = those
    return folds


def stratified_by_group(
    labels: Numbers, groups: Numbers, n_folds: int, seed: int
) -> Numbers | None:
    """The same of ``StratifiedGroupKFold(shuffle=True)``: a group is in one fold.

    Groups come in chance's order, those of few classes first; each goes to the fold that leaves
    classes spread most evenly, and of such to the smallest.
    """
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    _, member = np.unique(groups, return_inverse=True)
    n_groups = int(member.max(initial=-1)) + 1
    if (n_folds > counts).all() or n_folds > min(n_groups, len(labels)):
        return None
    held = np.zeros((n_groups, len(counts)))
    np.add.at(held, (member, classes), 1)
    order = np.arange(n_groups)
    np.random.RandomState(seed).shuffle(order)
    order = order[np.argsort(-np.std(held[order], axis=1), kind="stable")]
    loads, fold = np.zeros((n_folds, len(counts))), np.zeros(n_groups, dtype=np.int64)
    for group in order:
        fold[group] = _evenest(loads, held[group], counts)
        loads[fold[group]] += held[group]
    return fold[member]


def _evenest(loads: Array, own: Array, counts: Numbers) -> int:
    """The fold to which images ``own`` ``(K,)`` of a group are best added."""
    best, least, fewest = 0, np.inf, np.inf
    for number in range(len(loads)):
        loads[number] += own
        uneven = float(np.std(loads / counts, axis=0).mean())
        loads[number] -= own
        images = float(loads[number].sum())
        if uneven < least or (np.isclose(uneven, least) and images < fewest):
            best, least, fewest = number, uneven, images
    return best
