"""Folds and bootstraps of a support, seeded by its task; what belongs together stays together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Chance = np.random.Generator
TRIES = 20  # orders of the groups, for each number of folds


def folds_of(
    labels: np.ndarray | None,
    groups: np.ndarray | None,
    n_examples: int,
    count: int,
    chance: Chance,
) -> np.ndarray | None:
    """The fold ``(S,)`` of each image, of classes ``labels`` or of values (None).

    Images of one of the ``groups`` share a fold. None where nothing can be left out.
    """
    if groups is not None and len(np.unique(groups)) < n_examples:
        return grouped_folds(labels, groups, count, chance)
    if labels is None:
        return folds_of_values(n_examples, count, chance)
    return stratified_folds(labels, count, chance)


def stratified_folds(labels: np.ndarray, count: int, chance: Chance) -> np.ndarray | None:
    """The fold ``(S,)`` of each image, every class spread evenly; None if a class has one image.

    There are ``count`` folds, or as many as the smallest class has images.

    >>> stratified_folds(np.array([0, 0, 1]), 3, np.random.default_rng(0)) is None
    True
    """
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return _dealt(groups, min(count, *(len(g) for g in groups), len(labels)), chance)


def folds_of_values(n_examples: int, count: int, chance: Chance) -> np.ndarray | None:
    """The same for values, which have no classes; None with fewer than four images."""
    if n_examples < 4:
        return None
    return _dealt([np.arange(n_examples)], min(count, n_examples), chance)


def grouped_folds(
    labels: np.ndarray | None, groups: np.ndarray, count: int, chance: Chance
) -> np.ndarray | None:
    """Folds that part no group; of classes, each is left to learn from in every fold.

    Groups are taken in chance's order, the large ones first, each to the fold that has the fewest
    images of the group's own classes. Where that leaves a class out, other orders are tried, then
    fewer folds. None where a class is of one group, or no such folds are found (of a few groups
    that share classes there may be none).

    >>> folds = grouped_folds(np.array([0, 0, 1, 1]), np.array([5, 6, 5, 6]), 3,
    ...                       np.random.default_rng(0))
    >>> bool(folds[0] == folds[2]), bool(folds[0] != folds[1])
    (True, True)
    """
    classes = np.zeros(len(groups), dtype=int) if labels is None else labels
    _, member = np.unique(groups, return_inverse=True)
    held = np.zeros((member.max() + 1, classes.max() + 1), dtype=int)  # images by group and class
    np.add.at(held, (member, classes), 1)
    count = min(count, int((held > 0).sum(0).min()))
    for folds in range(count, 1, -1):
        for tried in range(TRIES):
            order = chance.permutation(len(held))
            if tried == 0:
                order = order[np.argsort(-held[order].sum(1), kind="stable")]
            place = _placed(held, order, folds)
            if place is not None:
                return place[member]
    return None


def _placed(held: np.ndarray, order: np.ndarray, count: int) -> np.ndarray | None:
    """The fold of each group ``(G,)``, from its images of each class ``(G, N)``."""
    loads, place = np.zeros((count, held.shape[1]), dtype=int), np.zeros(len(held), dtype=int)
    for group in order:
        own = loads[:, held[group] > 0].sum(1)
        place[group] = np.lexsort((loads.sum(1), own))[0]
        loads[place[group]] += held[group]
    left = held.sum(0) - loads
    return place if bool((left > 0).all() and (loads.sum(1) > 0).all()) else None


def _dealt(groups: Iterable[np.ndarray], count: int, chance: Chance) -> np.ndarray | None:
    groups = list(groups)
    if count < 2:
        return None
    folds, dealt = np.zeros(sum(len(g) for g in groups), dtype=int), 0
    for group in groups:
        folds[chance.permutation(group)] = (dealt + np.arange(len(group))) % count
        dealt += len(group)
    return folds


def bootstrap(labels: np.ndarray | None, n_examples: int, chance: Chance) -> np.ndarray:
    """Numbers of as many images drawn with replacement, within each class where there are classes.

    So no class is lost.

    >>> drawn = bootstrap(np.array([0, 1, 1]), 3, np.random.default_rng(0))
    >>> int(drawn[0]), len(drawn)
    (0, 3)
    """
    every = np.zeros(n_examples, dtype=int) if labels is None else labels
    groups = [np.flatnonzero(every == label) for label in np.unique(every)]
    return np.concatenate([chance.choice(group, len(group)) for group in groups])
