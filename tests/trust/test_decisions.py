"""Operating points, net benefit, more labels, subgroups, what to label next: by arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from medmeta.errors import SettingsError
from medmeta.trust.decisions import (
    decision_curve,
    more_labels,
    net_benefit,
    operating_point,
    subgroups,
    threshold_for_cost,
    threshold_for_sensitivity,
)
from medmeta.trust.results import Figure
from medmeta.trust.suggest import suggest

LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.3, 0.1, 0.05])
BOTH = np.stack([1 - SCORES, SCORES], 1)
ALONE = np.arange(8)


def test_a_threshold_finds_as_many_as_asked_and_no_more_alarms_than_it_must() -> None:
    assert threshold_for_sensitivity(SCORES, LABELS == 1, 0.75) == 0.7
    assert threshold_for_sensitivity(SCORES, LABELS == 1, 0.76) == 0.2
    with pytest.raises(SettingsError, match="no image"):
        threshold_for_sensitivity(SCORES, LABELS == 7, 0.9)


def test_an_operating_point_by_costs() -> None:
    found = operating_point(
        BOTH, LABELS, ALONE, ALONE % 2, positive=1, name="ill", costs=(3.0, 1.0)
    )
    assert found.threshold == threshold_for_cost(3, 1) == 0.25
    assert found.sensitivity.value == 0.75
    assert found.specificity.value == 0.5


def test_a_target_is_chosen_by_other_folds() -> None:
    """Even images are judged by the threshold of odd ones (0.2), odd ones by that of even (0.7)."""
    found = operating_point(BOTH, LABELS, ALONE, ALONE % 2, positive=1, name="ill", sensitivity=1.0)
    assert found.threshold == 0.2
    assert found.sensitivity.value == 0.75
    assert found.specificity.value == 0.75
    with pytest.raises(SettingsError, match="sensitivity"):
        operating_point(BOTH, LABELS, ALONE, ALONE % 2, positive=1, name="ill", sensitivity=2.0)
    with pytest.raises(SettingsError, match="costs"):
        threshold_for_cost(0, 1)


def test_net_benefit_by_hand() -> None:
    """At 0.25: three found, two false alarms weighed by a third; of always acting, 4 and 4."""
    mine, everyone = net_benefit(SCORES, LABELS == 1, 0.25)
    assert mine == pytest.approx((3 - 2 / 3) / 8)
    assert everyone == pytest.approx((4 - 4 / 3) / 8)
    curve = decision_curve(BOTH, LABELS, ("well", "ill"))
    assert {point.positive for point in curve} == {"ill"}


def test_more_labels_by_a_power() -> None:
    now = Figure(0.6, 0.5, 0.7)
    (found,) = more_labels(now, 10.0, exponent=0.5, spread=0.0, added=[30])
    assert found.per_class == 40
    assert found.accuracy.value == pytest.approx(0.8)
    assert found.accuracy.low == pytest.approx(0.75)
    assert more_labels(Figure(), 10.0, exponent=0.5, spread=0.1, added=[30]) == []


def test_subgroups_are_counted_and_small_ones_are_warned_of() -> None:
    right = np.array([1.0] * 30 + [0.0] * 5)
    sites = ["A"] * 30 + ["B"] * 4 + [None]
    found = subgroups(right, np.arange(35), {"site": sites, "sex": ["F"] * 35})
    assert [(g.column, g.name, g.images) for g in found] == [
        ("site", "A", 30), ("site", "B", 4), ("site", "not known", 1),
    ]  # fmt: skip
    assert found[0].accuracy.value == 1.0
    assert found[0].warning == ""
    assert "too few" in found[1].warning


def test_what_stands_for_many_comes_first_and_twins_are_passed_over() -> None:
    random = np.random.default_rng(0)
    known = np.array([[1.0, 0, 0], [0.9, 0.1, 0]])
    cluster = np.array([0.0, 1, 0]) + random.normal(0, 0.05, (20, 3))
    alone, covered = np.array([[0.0, 0, 1]]), known[:1]
    unlabelled = np.concatenate([cluster, cluster[:1], alone, covered])
    found = suggest(known, unlabelled, np.full((23, 2), 0.5), 3)
    assert found.images[0] < 21
    assert 21 in found.images[:2]
    assert 22 not in found.images
    assert not {0, 20} <= set(found.images)
    assert list(found.gains) == sorted(found.gains, reverse=True)
    assert found.left_out >= 1


def test_as_many_as_there_are() -> None:
    found = suggest(np.eye(3)[:1], np.eye(3)[1:], np.full((2, 2), 0.5), 10)
    assert sorted(found.images) == [0, 1]
