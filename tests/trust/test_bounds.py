"""Intervals: against SciPy, and in simulations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from medmeta.trust.bounds import (
    area_interval,
    bootstrap_share,
    exact_share,
    group_means,
    mean_of_shares,
    needed_for,
    share_interval,
)
from medmeta.trust.results import Figure


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (3, 7), (14, 15), (50, 100)])
def test_the_exact_interval_is_scipys(right: int, n: int) -> None:
    found = exact_share(right, n)
    theirs = binomtest(right, n).proportion_ci(0.95, "exact")
    assert found.value == right / n
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_no_images_give_no_interval() -> None:
    assert exact_share(0, 0) == Figure()
    found, how = share_interval(np.zeros(0), np.zeros(0, np.int64))
    assert (found, how) == (Figure(), "")


def test_images_alone_are_counted_exactly() -> None:
    right = np.repeat([1.0, 0.0], [12, 8])
    found, how = share_interval(right, np.arange(20))
    theirs = binomtest(12, 20).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert how == "exact binomial, 20 images"


def test_few_patients_count_as_so_many_images() -> None:
    found, how = share_interval(np.repeat([1.0, 0.0], [12, 8]), np.repeat(np.arange(5), 4))
    theirs = binomtest(3, 5).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert how == "exact binomial, 5 patients"


@pytest.mark.parametrize(
    ("counts", "alike"),
    [
        ([5] * 12, 12.0),
        ([1] * 11 + [40], 51**2 / 1611),
        ([1] * 30 + [10, 20, 30, 40], 130**2 / 3030),
    ],
)
def test_unequal_patients_count_as_fewer_equal_ones(counts: list[int], alike: float) -> None:
    """Kish 1965; so one patient with most of the images leaves little to conclude from."""
    groups = np.repeat(np.arange(len(counts)), counts)
    right = (groups % 4 != 0).astype(np.float64)
    figure, how = share_interval(right, groups)
    wanted = exact_share(float(right.mean()) * alike, alike)
    assert (figure.low, figure.high) == pytest.approx((wanted.low, wanted.high))
    assert how == f"exact binomial, {len(counts)} patients"


def test_precision_counts_where_all_agree_too() -> None:
    few, many = (
        share_interval(np.ones(2 * n), np.repeat(np.arange(n), 2), precision=0.4)[0]
        for n in (29, 31)
    )
    assert (many.low or 0) - (few.low or 0) < 0.02


def test_by_patient_the_truth_is_held_and_by_image_it_is_not() -> None:
    """40 patients with 8 images each; a patient's images are all right or all wrong, by 0.7."""
    random, truth, runs = np.random.default_rng(1), 0.7, 200
    groups = np.repeat(np.arange(40), 8)
    held = {"patients": 0, "images": 0}
    for _ in range(runs):
        right = np.repeat((random.random(40) < truth).astype(float), 8)
        by_patient, how = share_interval(right, groups)
        by_image = exact_share(float(right.sum()), len(right))
        assert how == "bootstrap of 40 patients"
        for name, found in (("patients", by_patient), ("images", by_image)):
            assert found.low is not None
            assert found.high is not None
            held[name] += found.low <= truth <= found.high
    assert held["patients"] / runs > 0.9
    assert held["images"] / runs < 0.75


def test_patients_who_all_agree_leave_no_bootstrap() -> None:
    sums, counts = group_means(np.ones(80), np.repeat(np.arange(40), 2))
    assert bootstrap_share(sums, counts) == Figure(1.0)
    found, how = share_interval(np.ones(80), np.repeat(np.arange(40), 2))
    assert how == "exact binomial, 40 patients"
    assert found.low == pytest.approx(binomtest(40, 40).proportion_ci(0.95, "exact").low)


@pytest.mark.parametrize("area", [0.6, 0.8, 0.95])
def test_the_areas_interval_holds_the_truth(area: float) -> None:
    """Two normal clouds: the area is Φ(d / √2)."""
    random, apart, runs = np.random.default_rng(2), np.sqrt(2) * norm.ppf(area), 400
    held = 0
    for _ in range(runs):
        scores = np.concatenate([random.normal(apart, 1, 15), random.normal(0, 1, 15)])
        seen = float(roc_auc_score(np.repeat([1, 0], 15), scores))
        found = area_interval(seen, 15, 15)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= area <= found.high
    assert 0.92 <= held / runs <= 1.0


def test_an_area_of_one_is_not_certain() -> None:
    found = area_interval(1.0, 5, 5)
    assert found.high == 1.0
    assert found.low is not None
    assert 0.5 < found.low < 0.9
    assert area_interval(float("nan"), 5, 5) == Figure()
    assert area_interval(0.7, 0, 5) == Figure(0.7)


def test_a_mean_of_shares_is_narrower_than_each() -> None:
    one = exact_share(6, 10)
    mean = mean_of_shares([one, one, one, one])
    assert one.low is not None
    assert mean.value == pytest.approx(0.6)
    assert mean.low == pytest.approx(0.6 - (0.6 - one.low) / 2)
    assert mean_of_shares([Figure()]) == Figure()


def test_as_many_as_are_needed_are_enough_and_one_fewer_is_not() -> None:
    n = needed_for(0.75, 0.3)

    def width(size: int) -> float:
        found = exact_share(0.75 * size, size)
        return (found.high or 0) - (found.low or 0)

    assert width(n) <= 0.3 < width(n - 1)
    assert needed_for(0.75, 0.3, 0.5) == 2 * n
