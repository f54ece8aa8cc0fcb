import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import sem, t, ttest_rel

from medmeta.errors import DataError
from medmeta.evaluation.intervals import paired_difference, summarise, within_bounds
from medmeta.evaluation.metrics import HIGHER_IS_BETTER, SHARES

SAMPLES = st.lists(st.integers(-1000, 1000).map(lambda i: i / 7), min_size=2, max_size=60)


@given(SAMPLES)
def test_the_interval_is_students(values):
    found = summarise(np.array(values))
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.spread == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    if len(set(values)) > 1:
        low, high = t.interval(0.95, len(values) - 1, np.mean(values), sem(values))
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.tasks == len(values)


def test_the_interval_holds_the_true_mean_in_nineteen_of_twenty_runs():
    # Accuracies of 50 tasks with 75 queries each, the tasks' difficulty drawn too.
    random = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        accuracy = random.binomial(75, random.beta(8, 4, 50)) / 75
        found = summarise(accuracy)
        held += found.low <= 8 / 12 <= found.high
    assert 930 <= held <= 970  # 950 expected, standard deviation 7


def test_the_worst_tenth_is_that_of_the_tasks():
    values = np.random.default_rng(0).permutation(np.arange(40.0))
    assert summarise(values).worst_tenth == 1.5  # 0, 1, 2, 3
    assert summarise(values, higher_is_better=False).worst_tenth == 37.5
    assert summarise(np.array([3.0, 1.0, 2.0])).worst_tenth == 1.0


def test_intervals_of_shares_hold_nothing_impossible():
    wide = {name: summarise(np.array([0.25, 1.0])) for name in HIGHER_IS_BETTER}
    found = within_bounds(wide)
    assert set(found) > SHARES
    for name, summary in found.items():
        inside = (summary.low, summary.high) == (0, 1)
        assert inside == (name in SHARES)
        assert inside or summary == wide[name]
        assert (summary.mean, summary.spread) == (wide[name].mean, wide[name].spread)
    undefined = within_bounds({"dice": summarise(np.array([0.5]))})["dice"]
    assert math.isnan(undefined.low)
    assert math.isnan(undefined.high)


def test_undefined_tasks_do_not_count():
    found = summarise(np.array([1.0, np.nan, 3.0]))
    assert (found.mean, found.tasks) == (2.0, 2)


@pytest.mark.parametrize("values", [[], [np.nan], [0.5]])
def test_what_is_not_defined_is_null_in_json(values):
    found = summarise(np.array(values))
    assert math.isnan(found.low)
    assert math.isnan(found.spread)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["low"] is None
    assert json.loads(text)["tasks"] == sum(v == v for v in values)


def test_runs_are_compared_task_by_task():
    random = np.random.default_rng(0)
    hard = random.normal(size=30)
    first, second = hard + 0.1 + random.normal(size=30) / 20, hard
    found = paired_difference(first, second)
    interval = ttest_rel(first, second).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(first - second))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.low > 0  # though each run alone varies ten times as much
    assert found.first_better == (first > second).mean()
    other = paired_difference(second, first)
    assert (other.mean, other.tasks) == (pytest.approx(-found.mean), 30)


def test_where_lower_is_better_the_smaller_one_wins():
    first, second = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 3.0, 3.0, 3.0])
    assert paired_difference(first, second).first_better == 0.25
    assert paired_difference(first, second, higher_is_better=False).first_better == 0.5


def test_only_tasks_where_both_are_defined_are_compared():
    found = paired_difference(np.array([1.0, np.nan, 2.0]), np.array([0.0, 1.0, np.nan]))
    assert (found.mean, found.tasks, found.first_better) == (1.0, 1, 1.0)
    nothing = paired_difference(np.array([np.nan]), np.array([0.0]))
    assert nothing.tasks == 0
    assert math.isnan(nothing.first_better)


def test_other_numbers_of_tasks_are_not_compared():
    with pytest.raises(DataError, match="3 and 2 tasks"):
        paired_difference(np.zeros(3), np.zeros(2))
