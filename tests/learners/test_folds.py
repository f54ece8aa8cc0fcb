"""Folds that part no group."""

from __future__ import annotations

import numpy as np
import pytest

from medmeta.learners._folds import folds_of, grouped_folds


@pytest.mark.parametrize("seed", range(20))
def test_no_group_is_parted_and_every_class_is_left(seed: int) -> None:
    chance = np.random.default_rng(seed)
    labels = np.array([0] * 6 + [1] * 6 + [2] * 6)
    groups = np.array([0, 0, 1, 2, 3, 3, 4, 5, 5, 5, 6, 7, 0, 8, 8, 9, 10, 11])
    folds = grouped_folds(labels, groups, 3, chance)
    assert folds is not None
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    for fold in range(3):
        assert set(labels[folds != fold]) == {0, 1, 2}
    assert set(folds) == {0, 1, 2}


def test_one_patient_of_a_class_cannot_be_left_out() -> None:
    labels, groups = np.array([0, 0, 1, 1]), np.array([7, 7, 8, 9])
    assert folds_of(labels, groups, 4, 3, np.random.default_rng(0)) is None


def test_one_patient_in_all_classes_cannot_be_left_out() -> None:
    labels, groups = np.array([0, 0, 1, 1]), np.zeros(4, dtype=int)
    assert folds_of(labels, groups, 4, 3, np.random.default_rng(0)) is None


def test_groups_of_one_image_each_change_nothing() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    alone = folds_of(labels, np.arange(6), 6, 3, np.random.default_rng(1))
    unknown = folds_of(labels, None, 6, 3, np.random.default_rng(1))
    assert alone is not None
    assert unknown is not None
    assert alone.tolist() == unknown.tolist()


def test_patients_with_values_stay_together() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2])
    folds = folds_of(None, groups, 6, 3, np.random.default_rng(2))
    assert folds is not None
    assert folds[::2].tolist() == folds[1::2].tolist()
    assert sorted(folds[::2].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(8))
def test_folds_are_found_where_the_first_order_leaves_a_class_out(seed: int) -> None:
    """Patients 0 and 1 have both classes, so they must be parted; patient 2 is with either."""
    labels, groups = np.array([1, 0, 0, 0, 0, 1, 0]), np.array([0, 2, 1, 2, 2, 1, 0])
    folds = folds_of(labels, groups, 7, 3, np.random.default_rng(seed))
    assert folds is not None
    assert set(folds) == {0, 1}
    for fold in (0, 1):
        assert set(labels[folds != fold]) == {0, 1}
    for group in range(3):
        assert len(set(folds[groups == group])) == 1
