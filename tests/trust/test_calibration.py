"""Temperature, bias, and the scores of probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from medmeta.trust.calibration import (
    calibrate,
    calibrated,
    crossed,
    debiased_error,
    fit_calibration,
    reliability,
)
from medmeta.trust.folds import draw_folds
from medmeta.trust.posterior import Posterior
from medmeta.trust.prior import TrustPrior

WIDE = TrustPrior(temperature_spread=50.0)


def drawn(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits ``(1, n, 3)`` that are ``temperature`` times too far apart, and labels."""
    random = np.random.default_rng(seed)
    true = random.normal(0, 1.5, (n, 3))
    labels = np.array([random.choice(3, p=softmax(row)) for row in true])
    return true[None] * temperature, labels


def test_the_temperature_that_logits_were_spoilt_by_is_found() -> None:
    logits, labels = drawn(5000, 4.0)
    temperature, bias = fit_calibration(logits, labels, WIDE)
    assert temperature == pytest.approx(4.0, rel=0.1)
    assert np.abs(bias).max() < 0.1


def test_the_temperature_is_that_of_a_logistic_regression() -> None:
    """Of two classes, dividing logits by T is a logistic regression without intercept."""
    logits, labels = drawn(2000, 2.5, seed=1)
    two = labels < 2
    pair = logits[:, two][:, :, :2]
    gap = pair[0, :, 0] - pair[0, :, 1]
    fitted = LogisticRegression(C=1e9, fit_intercept=False).fit(gap[:, None], labels[two] == 0)
    temperature, _ = fit_calibration(pair, labels[two], WIDE, with_bias=False)
    assert temperature == pytest.approx(1 / fitted.coef_[0, 0], rel=1e-3)


def test_a_class_that_is_named_too_often_is_held_back() -> None:
    logits, labels = drawn(5000, 1.0, seed=2)
    logits[..., 0] += 1.0
    _, bias = fit_calibration(logits, labels, WIDE)
    assert bias[0] - bias[1] == pytest.approx(-1.0, abs=0.15)


def test_of_few_images_the_prior_decides() -> None:
    prior = TrustPrior(log_temperature=float(np.log(3.0)), temperature_spread=0.7, tasks=100)
    logits = np.array([[[9.0, 0.0], [0.0, 9.0]]])
    found, _ = fit_calibration(logits, np.array([0, 1]), prior)
    assert 1.0 < found < 4.0  # all right, and yet not as sure as could be
    wrong, _ = fit_calibration(logits, np.array([1, 0]), prior)
    assert wrong > found


@pytest.mark.parametrize(("way", "spread"), [(2, 1.5), (3, 0.5)])
def test_of_two_classes_doubt_is_believed_sooner(way: int, spread: float) -> None:
    """Answers no better than chance: the temperature is the posterior's by SciPy, searched freely.

    Its prior's deviation above the usual is three times as large for two classes.
    """
    labels = np.arange(4 * way) % way
    logits = np.full((1, len(labels), way), -1.0)
    logits[0, np.arange(len(labels)), np.arange(len(labels)) // 4] = 1.0  # each class, alike
    prior = TrustPrior(log_temperature=0.0, temperature_spread=0.1, tasks=10)

    def cost(t: float) -> float:
        likely = log_softmax(logits[0] / np.exp(t), axis=1)[np.arange(len(labels)), labels]
        return float(-likely.sum() + t**2 / (2 * spread**2))

    found, _ = fit_calibration(logits, labels, prior, with_bias=False)
    assert np.log(found) > 0.1
    by_search = minimize_scalar(cost, bounds=(0, 6), method="bounded").x
    assert np.log(found) == pytest.approx(by_search, abs=1e-3)


def test_logits_that_are_all_equal_do_not_stop_it() -> None:
    temperature, bias = fit_calibration(np.zeros((2, 6, 2)), np.arange(6) % 2, TrustPrior())
    assert np.isfinite(temperature)
    assert np.isfinite(bias).all()
    assert calibrated(np.zeros((1, 2)), temperature, bias)[0, 0] == pytest.approx(0.5)


def test_calibration_is_judged_on_folds_it_has_not_seen() -> None:
    logits, labels = drawn(300, 5.0, seed=3)
    folds = draw_folds(labels, np.arange(300), n_folds=5, repeats=1)
    found = calibrate(logits, labels, crossed(logits, labels, folds, WIDE), WIDE)
    assert found.before is not None
    assert found.after is not None
    assert (found.before.ece_debiased or 0) > 0.1
    assert (found.after.ece_debiased or 0) < 0.05
    assert (found.after.log_loss or 9) < (found.before.log_loss or 0)
    assert sum(b.count for b in found.after.bins) == 300


def test_scores_are_scikit_learns() -> None:
    logits, labels = drawn(200, 1.0)
    p = softmax(logits[0], axis=1)
    found = reliability(p, labels)
    assert found.log_loss == pytest.approx(log_loss(labels, p))
    assert found.brier == pytest.approx(brier_score_loss(labels, p, scale_by_half=False))


def test_chance_alone_is_taken_off() -> None:
    """Probabilities that are right, few of them: the plain error is all chance."""
    random = np.random.default_rng(4)
    plain, less = [], []
    for _ in range(200):
        confidence = random.uniform(0.5, 1, 60)
        right = random.random(60) < confidence
        gaps = np.stack([1 - confidence, confidence], 1)
        plain.append(reliability(gaps, right.astype(np.int64)).ece or 0)
        less.append(debiased_error(confidence, right))
    assert np.mean(plain) > 0.08
    assert np.mean(less) < 0.6 * np.mean(plain)
    sure = debiased_error(np.full(20_000, 0.9), np.arange(20_000) % 2 == 0)
    assert sure == pytest.approx(0.4, abs=1e-3)


def test_nothing_to_judge() -> None:
    assert reliability(np.zeros((0, 2)), np.zeros(0, np.int64)).ece is None


@pytest.mark.parametrize("seed", range(12))
def test_the_most_likely_place_is_the_one_that_scipy_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, k = int(random.integers(2, 60)), int(random.integers(2, 7))
    labels = random.integers(0, k, n)
    logits = random.normal(0, (0.3, 2.0, 8.0)[seed % 3], (n, k))
    logits[np.arange(n), labels] += (0.0, 1.0, 10.0)[seed // 4]
    spreads = (0.5, (0.5, 2.0)[seed % 2])
    asked = Posterior(logits, np.eye(k)[labels], 1.0, random.normal(), spreads, 0.1)

    def cost(place: np.ndarray) -> tuple[float, np.ndarray]:
        bias = place[1:] - place[1:].mean()
        value, slope, _ = asked.expanded(np.concatenate([place[:1], bias]))
        return value, np.concatenate([slope[:1], slope[1:] - slope[1:].mean()])

    start = np.concatenate([[np.clip(asked.centre, -2.0, 4.0)], np.zeros(k)])
    options = {"ftol": 1e-16, "gtol": 1e-10, "maxiter": 5000}
    wanted = minimize(cost, start, jac=True, method="L-BFGS-B", options=options).x
    found, bias = asked.most_likely()
    assert found == pytest.approx(wanted[0], abs=1e-5)
    np.testing.assert_allclose(bias, wanted[1:] - wanted[1:].mean(), atol=1e-5)


def test_slopes_and_curvatures_are_those_of_differences() -> None:
    random = np.random.default_rng(0)
    asked = Posterior(random.normal(0, 2, (9, 4)), np.eye(4)[random.integers(0, 4, 9)],
                      0.5, 0.3, (0.7, 1.4), 0.1)  # fmt: skip
    place, little = random.normal(0, 0.1, 5), 1e-5
    _, slope, bend = asked.expanded(place)
    moves = little * np.eye(5)
    values = [asked.expanded(place + m)[0] - asked.expanded(place - m)[0] for m in moves]
    slopes = [asked.expanded(place + m)[1] - asked.expanded(place - m)[1] for m in moves]
    np.testing.assert_allclose(slope, np.array(values) / (2 * little), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bend, np.array(slopes) / (2 * little), rtol=1e-5, atol=1e-6)
