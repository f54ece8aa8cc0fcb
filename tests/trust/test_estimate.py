"""The honest figure: against scikit-learn, and in simulations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medmeta.trust.estimate import chance_of, estimate
from medmeta.trust.folds import cannot_fold, draw_folds, number_of_folds
from medmeta.trust.held_out import held_out_outputs
from medmeta.trust.prior import TrustPrior
from medmeta.trust.source_tasks import Lesson, prior_from
from tests.trust.gaussian_tasks import adapted, clouds


def test_folds_part_patients_and_keep_every_class() -> None:
    labels = np.repeat([0, 1, 2], 12)
    groups = np.arange(36) // 3
    folds = draw_folds(labels, groups, n_folds=number_of_folds(labels, groups), repeats=5)
    assert folds.shape == (5, 36)
    for numbers in folds:
        for group in np.unique(groups):
            assert len(set(numbers[groups == group])) == 1
        for fold in np.unique(numbers):
            assert set(labels[numbers != fold]) == {0, 1, 2}


def test_balanced_classes_lose_one_image_each() -> None:
    labels = np.repeat([0, 1, 2], 5)
    folds = draw_folds(labels, np.arange(15), n_folds=5, repeats=3)
    for numbers in folds:
        for fold in range(5):
            assert sorted(labels[numbers == fold]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "groups", "says"),
    [
        ([0, 1], [0, 1], "a, b: with one image of a class"),
        ([0, 0, 1, 1], [0, 0, 0, 0], "all images are of one patient"),
        ([0, 0, 1, 1], [0, 0, 1, 1], "with one patient of a class"),
        ([0, 0, 1, 1], [0, 1, 2, 3], ""),
    ],
)
def test_what_cannot_be_held_out_is_said(labels: list[int], groups: list[int], says: str) -> None:
    found = cannot_fold(np.array(labels), np.array(groups), ("a", "b"))
    assert says in found if says else found == ""


def test_held_out_answers_are_those_of_a_learner_without_the_image() -> None:
    points, labels = clouds(np.random.default_rng(0), 4, way=3)
    task = adapted(points, labels)
    folds = draw_folds(labels, np.arange(12), n_folds=4, repeats=2)
    found = held_out_outputs(task, folds)
    for repeat, numbers in enumerate(folds):
        for i in range(12):
            known = numbers != numbers[i]
            means = [points[known & (labels == k)].mean(0) for k in range(3)]
            expected = [-np.square(points[i] - m).sum() for m in means]
            np.testing.assert_allclose(found[repeat, i], expected, rtol=1e-4)


def test_figures_are_scikit_learns() -> None:
    random = np.random.default_rng(1)
    labels = np.array([0] * 12 + [1] * 9 + [2] * 6)
    logits = random.normal(0, 1, (2, 27, 3))
    logits[:, np.arange(27), labels] += 1
    folds = draw_folds(labels, np.arange(27), n_folds=5, repeats=2)
    found = estimate(
        logits, labels, np.arange(27), folds, names=("a", "b", "c"), prior=TrustPrior(),
        patients_known=True,
    )  # fmt: skip
    answers = logits.argmax(-1)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    figures = {name: figure.value for name, figure in found.figures.items()}
    assert figures["accuracy"] == pytest.approx(np.mean(answers == labels))
    expected = np.mean([balanced_accuracy_score(labels, a) for a in answers])
    assert figures["balanced_accuracy"] == pytest.approx(expected)
    areas = [roc_auc_score(labels, q, multi_class="ovr", average="macro") for q in p]
    assert figures["auroc"] == pytest.approx(np.mean(areas))
    first = found.by_class[0]
    assert first.images == 12
    assert first.sensitivity.value == pytest.approx(np.mean(answers[:, labels == 0] == 0))
    assert first.specificity.value == pytest.approx(np.mean(answers[:, labels != 0] != 0))
    assert found.chance == chance_of(labels, 3) == 12 / 27


def test_the_interval_holds_the_truth_of_the_final_predictor() -> None:
    """Two clouds: the true accuracy of two means is known in closed form."""
    random, runs, held, gaps, widths = np.random.default_rng(2), 120, 0, [], []
    for _ in range(runs):
        points, labels = clouds(random, 10, apart=1.5, size=3)
        folds = draw_folds(labels, np.arange(20), n_folds=10, repeats=3)
        logits = held_out_outputs(adapted(points, labels), folds)
        told = estimate(
            logits, labels, np.arange(20), folds, names=("a", "b"), prior=TrustPrior(),
            patients_known=True,
        ).figures["accuracy"]  # fmt: skip
        truth = _true_accuracy(points, labels, 1.5)
        assert told.value is not None
        assert told.low is not None
        assert told.high is not None
        held += told.low <= truth <= told.high
        gaps.append(told.value - truth)
        widths.append(told.high - told.low)
    assert 0.92 <= held / runs <= 1.0
    assert abs(np.mean(gaps)) < 0.04
    assert np.mean(widths) < 0.5


def _true_accuracy(points: np.ndarray, labels: np.ndarray, apart: float) -> float:
    """Of the nearest of two means, for clouds of unit variance at ``apart``/√2 on two axes."""
    first, second = (points[labels == k].mean(0) for k in (0, 1))
    direction, middle = first - second, (first + second) / 2
    length = np.linalg.norm(direction)
    centres = np.zeros((2, points.shape[1]))
    centres[[0, 1], [0, 1]] = apart / np.sqrt(2)
    far = [(c - middle) @ direction / length for c in centres]
    return float((norm.cdf(far[0]) + norm.cdf(-far[1])) / 2)


def test_what_source_tasks_teach_is_applied() -> None:
    labels = np.repeat([0, 1], 10)
    logits = np.zeros((1, 20, 2))
    logits[0, np.arange(20), labels] = 1
    logits[0, :5] *= -1  # five of twenty are wrong
    folds = draw_folds(labels, np.arange(20), n_folds=10, repeats=1)
    prior = TrustPrior(exponent=1.0, precision=0.5, tasks=10, sources=1)
    found = estimate(
        logits, labels, np.arange(20), folds, names=("a", "b"), prior=prior, patients_known=True
    )
    assert found.cross_validated == 0.75
    assert found.figures["accuracy"].value == pytest.approx(1 - 0.25 * 0.9)
    assert found.correction == pytest.approx(0.025)
    assert not found.enough


def test_a_prior_is_learned_by_arithmetic() -> None:
    """Held-out errors 0.4, true ones 0.2, by four fifths of the images: log ½ / log 0.8 is 3.1."""
    steep = [Lesson("a", 0.4, 0.2, 20, 100, 0.8, 0.0)] * 4
    assert prior_from(steep).exponent == 1.0  # no more is believed
    even = [Lesson("a", 0.4, 0.4 * 0.8**0.5, 20, 100, 0.8, np.log(2))] * 4
    found = prior_from(even)
    assert found.exponent == pytest.approx(0.5)
    assert found.log_temperature == pytest.approx(np.log(2))
    assert (found.tasks, found.sources) == (4, 1)
    both = prior_from([*even, *[Lesson("b", 0.4, 0.4, 20, 100, 0.8, 0.0)] * 40])
    assert both.exponent == pytest.approx(0.25)
    assert both.log_temperature == pytest.approx(np.log(2) / 2)
    cold = prior_from([Lesson("a", 0.4, 0.4, 20, 100, 0.8, -3.0)])
    assert cold.log_temperature == 0.0


def test_precision_is_one_over_what_is_left() -> None:
    """Errors that differ by twice a binomial's variance: an image is worth half of one."""
    random = np.random.default_rng(0)
    lessons = []
    for _ in range(4000):
        held = 0.3 + random.normal(0, np.sqrt(2 * 0.3 * 0.7 / 50))
        lessons.append(Lesson("a", float(np.clip(held, 0.02, 0.9)), 0.3, 50, 10**9, 0.9, 0.0))
    assert prior_from(lessons).precision == pytest.approx(0.5, abs=0.06)
