"""Conformal sets: MAPIE's, the exact coverage, and simulations."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from medmeta.errors import SettingsError
from medmeta.trust.conformal import (
    by_class,
    cross_p_values,
    exact_coverage,
    fewest_images,
    guarantee,
    least_coverage,
    margins,
    own_scores,
    prediction_sets,
    split_p_values,
)
from medmeta.trust.folds import draw_folds
from medmeta.trust.held_out import held_out_outputs
from medmeta.trust.set_rules import SetMaker, check_level, set_rule
from tests.trust.gaussian_tasks import adapted, clouds


@pytest.mark.parametrize("n", [12, 25, 40])
def test_split_sets_are_mapies(n: int) -> None:
    mapie = pytest.importorskip("mapie.classification")
    random = np.random.default_rng(n)
    x, y = clouds(random, 40, way=3, apart=1.5)
    fitted = LogisticRegression().fit(x, y)
    rows = random.permutation(len(y))[:n]
    asked, _ = clouds(random, 20, way=3, apart=1.5)
    theirs = mapie.SplitConformalClassifier(
        fitted, confidence_level=0.9, conformity_score="lac", prefit=True
    ).conformalize(x[rows], y[rows])
    sets = theirs.predict_set(asked)[1][:, :, 0]
    held = own_scores(1 - fitted.predict_proba(x[rows]), y[rows])
    p = split_p_values(held, 1 - fitted.predict_proba(asked))
    np.testing.assert_array_equal(prediction_sets(p, 0.9), sets)


def test_split_coverage_is_exact() -> None:
    """25 held-out scores: 24 of 26 places, 92.3 %, and with chance 90 % to the dot."""
    random, runs = np.random.default_rng(0), 40_000
    scores = random.random((runs, 26))
    plain = np.array([split_p_values(row[:25], row[25:])[0] for row in scores])
    assert exact_coverage(25, 0.9) == pytest.approx(24 / 26)
    assert (plain > 0.1).mean() == pytest.approx(24 / 26, abs=0.005)
    chance = random.random((runs, 1))
    smooth = [split_p_values(s[:25], s[25:], c)[0] for s, c in zip(scores, chance, strict=True)]
    assert (np.array(smooth) > 0.1).mean() == pytest.approx(0.9, abs=0.006)


def test_equal_scores_are_shared_by_chance() -> None:
    held = np.array([1.0, 1.0, 2.0])
    assert split_p_values(held, np.array([1.0])).tolist() == [1.0]
    assert split_p_values(held, np.array([1.0]), np.array([0.0])).tolist() == [0.25]
    assert split_p_values(held, np.array([1.0]), np.array([0.5])).tolist() == [0.625]


def test_cross_p_values_of_one_fold_are_split_ones() -> None:
    random = np.random.default_rng(3)
    held, asked = random.random(12), random.random((1, 5, 3))
    one = cross_p_values(held, np.zeros(12, np.int64), asked)
    np.testing.assert_allclose(one, split_p_values(held, asked[0]))
    drawn = random.random((5, 3))
    smooth = cross_p_values(held, np.zeros(12, np.int64), asked, drawn)
    np.testing.assert_allclose(smooth, split_p_values(held, asked[0], drawn))


def test_cross_p_values_by_hand() -> None:
    held, folds = np.array([1.0, 4.0, 2.0, 3.0]), np.array([0, 0, 1, 1])
    asked = np.array([[[2.0]], [[2.5]]])
    assert cross_p_values(held, folds, asked).tolist() == [[pytest.approx((1 + 1 + 1) / 5)]]


def test_within_classes_only_their_own_images_count() -> None:
    held, folds, labels = np.array([1.0, 2.0, 9.0, 9.0]), np.array([0, 1, 0, 1]), np.arange(4) // 2
    asked = np.full((2, 1, 2), 5.0)
    assert by_class(held, labels, folds, asked).tolist() == [
        [pytest.approx(1 / 3), pytest.approx(1.0)]
    ]


@pytest.mark.parametrize("per_class", [False, True])
def test_cross_conformal_sets_cover(per_class: bool) -> None:
    """60 tasks of 2 × 15 images: coverage is not below 90 %, within the error of the tasks."""
    random, covered = np.random.default_rng(5), []
    for _ in range(60):
        points, labels = clouds(random, 15, apart=2.0)
        task = adapted(points, labels)
        folds = draw_folds(labels, np.arange(30), n_folds=5, repeats=1)
        rule = set_rule(held_out_outputs(task, folds)[0], labels, folds[0])
        asked, truth = clouds(random, 50, apart=2.0)
        query = adapted(asked, truth).support_embeddings
        assert query is not None
        inside = SetMaker(task, rule, level=0.9, per_class=per_class).sets(query)
        right = inside[np.arange(len(truth)), truth]
        covered.append([right[truth == 0].mean(), right[truth == 1].mean()])
    rates = np.array(covered)
    error = rates.mean(1).std() / np.sqrt(60)
    assert rates.mean() > 0.9 - 2 * error
    assert rates.mean() < 0.97
    if per_class:
        assert (rates.mean(0) > 0.9 - 3 * error).all()


@pytest.mark.parametrize(
    ("n", "folds", "least"), [(25, 5, 0.667), (20, 10, 0.755), (50, 5, 0.655), (100, 10, 0.718)]
)
def test_the_bound_is_that_of_the_theorem(n: int, folds: int, least: float) -> None:
    """Theorem 4 of Barber et al. 2021 by hand; with one image to a fold that of the jackknife+."""
    assert least_coverage(n, folds, 0.9) == pytest.approx(least, abs=5e-4)
    assert least_coverage(n, n, 0.9) == pytest.approx(0.8)


def test_images_of_one_patient_promise_no_more_than_the_patient() -> None:
    """40 images of 4 patients: of new patients four can vouch for nothing at 90 %."""
    labels, groups = np.repeat([0, 1], 20), np.repeat(np.arange(4), 10)
    logits = np.random.default_rng(0).normal(size=(40, 2))
    rule = set_rule(logits, labels, groups % 2, groups=groups)
    assert all("no guarantee possible with" in row.guarantee for row in rule.coverage)
    assert "4 patients at level 90 %: sets need 9" in rule.coverage[0].guarantee
    assert "2 patients per class" in rule.coverage[1].guarantee
    alone = set_rule(logits, labels, np.arange(40) % 5, groups=np.arange(40))
    assert "with 40 images a set holds" in alone.coverage[0].guarantee


def test_what_cannot_be_promised_is_said() -> None:
    assert fewest_images(0.9) == 9
    within, over = partial(guarantee, folds=5, per_class=True), partial(guarantee, per_class=False)
    assert within([9, 20], 0.9).startswith("with 9 images per class")
    assert within([8, 20], 0.9).startswith("no guarantee possible with 8 images")
    assert "92.3 %" in over([12, 13], 0.9, folds=5)
    assert "at least 66 %" in over([12, 13], 0.9, folds=5)
    assert "at least 80 %" in over([12, 13], 0.9, folds=25)
    assert over([4, 4], 0.95, folds=5).startswith("no guarantee possible")
    for level in (0.2, 1.0, 7.0):
        with pytest.raises(SettingsError, match="--sets"):
            check_level(level)


def test_below_the_fewest_images_no_class_is_ever_left_out() -> None:
    held = np.arange(8.0)
    assert prediction_sets(split_p_values(held, np.array([[1e9, -1e9]])), 0.9).all()
    assert not prediction_sets(split_p_values(np.arange(9.0), np.array([1e9])), 0.9).any()


def test_margins_of_equal_logits_are_nothing() -> None:
    assert margins(np.array([[1.0, 1.0]])).tolist() == [[0.0, 0.0]]
