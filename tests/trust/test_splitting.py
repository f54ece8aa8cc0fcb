"""Folds are scikit-learn's own, image by image."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from medmeta.trust.splitting import stratified, stratified_by_group


def by_scikit_learn(
    kind: type, labels: np.ndarray, groups: np.ndarray, n_folds: int, seed: int
) -> np.ndarray | None:
    folds = np.full(len(labels), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            splits = kind(n_folds, shuffle=True, random_state=seed).split(labels, labels, groups)
            for number, (_, held) in enumerate(splits):
                folds[held] = number
        except ValueError:
            return None
    return folds


@pytest.mark.parametrize("seed", range(60))
def test_folds_are_those_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, n_folds = int(random.integers(3, 50)), int(random.integers(2, 11))
    _, labels = np.unique(random.integers(0, random.integers(2, 6), n), return_inverse=True)
    groups = random.integers(0, max(2, n // 2), n)
    wanted = by_scikit_learn(StratifiedKFold, labels, groups, n_folds, seed)
    np.testing.assert_array_equal(stratified(labels, n_folds, seed), wanted)
    wanted = by_scikit_learn(StratifiedGroupKFold, labels, groups, n_folds, seed)
    np.testing.assert_array_equal(stratified_by_group(labels, groups, n_folds, seed), wanted)


def test_too_few_images_have_no_folds() -> None:
    labels = np.array([0, 0, 1])
    assert stratified(labels, 3, 0) is None
    assert stratified_by_group(labels, np.array([0, 0, 0]), 2, 0) is None
