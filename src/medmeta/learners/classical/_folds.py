"""Folds and bootstraps of a support, seeded by its task."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Chance = np.random.Generator


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
