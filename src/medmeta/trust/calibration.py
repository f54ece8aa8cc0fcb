"""Probabilities that mean what they say: temperature and bias from a few held-out answers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from medmeta.evaluation.metrics import calibration_error, class_metrics, softmax
from medmeta.trust.posterior import Posterior
from medmeta.trust.prior import TrustPrior
from medmeta.trust.results import Bin, Calibration, Reliability, defined

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
BINS = 10
BIAS_SPREAD = 0.1  # of the prior on a class's bias: few images must not move it far
LEAST_SPREAD = 0.5  # source tasks are of classes the encoder knows; others may differ as much
WIDER_OF_TWO = 3.0  # times that spread, towards doubt: of two classes, tasks differ far more
USUAL_GAP = 2.0  # of logits over temperature, where no source tasks tell better: odds of 7 to 1


def calibrated(logits: Array, temperature: float, bias: Array | tuple[float, ...]) -> Array:
    """``softmax(logits / temperature + bias)`` along the last axis.

    >>> calibrated(np.array([[2.0, 0.0]]), 2.0, (0.0, 1.0)).tolist()
    [[0.5, 0.5]]
    """
    return softmax(logits / temperature + np.asarray(bias))


def fit_calibration(
    logits: Array,
    labels: Numbers,
    prior: TrustPrior,
    *,
    with_bias: bool = True,
    wider: float = WIDER_OF_TWO,
) -> tuple[float, Array]:
    """Temperature and bias ``(K,)`` by held-out logits ``(R, n, K)`` of ``R`` repeats.

    The maximum a posteriori: the log loss of ``n`` answers (the mean over repeats, which are the
    same images again) with normal priors on the logarithm of the temperature (Guo et al. 2017 have
    none; five images decide little without) and on the bias, which is 0 in the mean.
    """
    scale = _scale(logits)
    repeats, _, k = logits.shape
    held = prior.log_temperature
    centre = -np.log(USUAL_GAP) if held is None else held - np.log(scale)
    spread = max(prior.temperature_spread, LEAST_SPREAD)
    posterior = Posterior(
        logits.reshape(-1, k) / scale,
        np.eye(k)[np.tile(labels, repeats)],
        1 / repeats,
        float(centre),
        (spread, spread * (wider if k == 2 else 1.0)),
        BIAS_SPREAD,
    )
    log_temperature, bias = posterior.most_likely(with_bias=with_bias)
    return float(np.exp(log_temperature) * scale), bias


def _scale(logits: Array) -> float:
    """How far logits lie apart, so that the search starts near; 1 where they do not."""
    middle = logits.min(-1) if logits.shape[-1] == 2 else np.median(logits, axis=-1)
    apart = float(np.median(logits.max(-1) - middle))
    return apart if np.isfinite(apart) and apart > 1e-9 else 1.0


def calibrate(logits: Array, labels: Numbers, answers: Array, prior: TrustPrior) -> Calibration:
    """Calibration by held-out logits ``(R, n, K)``, and how good it is on images it has not seen.

    ``answers`` ``(R, n, K)`` are the same, ``crossed``; the figures are of the first repeat.
    """
    temperature, bias = fit_calibration(logits, labels, prior)
    return Calibration(
        temperature=temperature,
        bias=tuple(float(b) for b in bias),
        images=len(labels),
        before=reliability(softmax(logits[0]), labels),
        after=reliability(softmax(answers[0]), labels),
    )


def crossed(logits: Array, labels: Numbers, folds: Numbers, prior: TrustPrior) -> Array:
    """Held-out logits ``(R, n, K)``, those of each fold calibrated by the others' of its repeat.

    The answers as they are given to images that neither the predictor nor its calibration has seen.
    """
    found = np.empty_like(logits)
    for repeat, mine in enumerate(folds):
        for fold in np.unique(mine):
            held = mine == fold
            t, b = fit_calibration(logits[repeat][~held][None], labels[~held], prior)
            found[repeat, held] = logits[repeat, held] / t + b
    return found


def reliability(probabilities: Array, labels: Numbers, n_bins: int = BINS) -> Reliability:
    """The reliability diagram of probabilities ``(n, K)`` with its counts, and their scores.

    >>> reliability(np.array([[0.7, 0.3]] * 10), np.array([0] * 7 + [1] * 3)).ece
    0.0
    """
    if not len(labels):
        return Reliability((), None, None, None, None)
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    bins = []
    for number in range(n_bins):
        inside = place == number
        mean = float(confidence[inside].mean()) if inside.any() else None
        bins.append(
            Bin(number / n_bins, (number + 1) / n_bins, int(inside.sum()), mean,
                int(right[inside].sum()))
        )  # fmt: skip
    figures = class_metrics(probabilities[None], labels[None])
    return Reliability(
        tuple(bins),
        defined(round(calibration_error(confidence, right, n_bins), 12)),
        defined(debiased_error(confidence, right, n_bins)),
        defined(figures["brier"][0]),
        defined(figures["log_loss"][0]),
    )


def debiased_error(confidence: Array, right: NDArray[np.bool_], n_bins: int = BINS) -> float:
    """The expected calibration error less what chance alone adds to it (Kumar et al. 2019, §5).

    Each bin's share of right answers is taken as normal about what was seen; the mean of its
    absolute gap (a folded normal's, in closed form) less the gap seen is the bias. Not below 0.
    """
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    plain = expected = 0.0
    for number in np.unique(place):
        inside = place == number
        n, share = int(inside.sum()), float(right[inside].mean())
        gap = abs(float(confidence[inside].mean()) - share)
        shrunk = (share * n + 0.5) / (n + 1)  # a bin all right or all wrong has chance in it too
        error = float(np.sqrt(shrunk * (1 - shrunk) / n))
        folded = error * np.sqrt(2 / np.pi) * np.exp(-(gap**2) / (2 * error**2))
        folded += gap * (math.erf(gap / error / math.sqrt(2)))
        plain += gap * n / len(right)
        expected += float(folded) * n / len(right)
    return max(0.0, 2 * plain - expected)
