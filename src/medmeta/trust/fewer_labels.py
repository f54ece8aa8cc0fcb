"""How accurate a task is with fewer labels than it has: the measured part of its label curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medmeta.learner import AdaptedTask
from medmeta.trust.bounds import share_interval
from medmeta.trust.held_out import is_cheap, subset_outputs
from medmeta.trust.prior import TrustPrior
from medmeta.trust.results import LabelPoint

Numbers = NDArray[np.int64]
DRAWS = 20
OWN_SPREAD = 0.2  # of the power found on one support, over tasks of one source
LEAST_WRONG = 0.02


def measured_labels(
    task: AdaptedTask, labels: Numbers, groups: Numbers, *, precision: float = 1.0, seed: int = 0
) -> list[LabelPoint]:
    """Accuracy with 1, 2, 5, … images per class, fewer than the smallest class has.

    Each point is the mean over 20 draws of what is learned from; all other images are asked.
    ``precision`` as of ``share_interval``. Empty where patients have several images, or where
    adapting is dear.
    """
    if len(np.unique(groups)) < len(groups) or not is_cheap(task):
        return []
    least = int(np.bincount(labels, minlength=task.target.size).min())
    random = np.random.Generator(np.random.Philox(key=seed % 2**63))
    found = []
    for shot in (s for s in (1, 2, 5, 10, 20) if s < least):
        learn = np.stack([_some(labels, shot, random) for _ in range(DRAWS)])
        ask = np.stack([np.setdiff1d(np.arange(len(labels)), rows) for rows in learn])
        right = subset_outputs(task, learn, ask).argmax(-1) == labels[ask]
        sums = np.bincount(ask.reshape(-1), right.reshape(-1), minlength=len(labels))
        times = np.bincount(ask.reshape(-1), minlength=len(labels))
        each = sums[times > 0] / times[times > 0]
        figure, _ = share_interval(each, groups[times > 0], precision=precision)
        found.append(LabelPoint(shot, figure, measured=True))
    return found


def support_exponent(
    points: list[LabelPoint], wrong: float, per_class: float, prior: TrustPrior
) -> float:
    """The power by which this task's wrong answers fall with its images, between 0 and 1.

    By least squares through the measured ``points`` and the share ``wrong`` that was held out at
    ``per_class`` images, on logarithms; then weighed against the prior, each by its own variance.
    """
    errors = [1 - (p.accuracy.value or 0.0) for p in points] + [wrong]
    if len(errors) < 2:
        return prior.exponent
    x = np.log([*(p.per_class for p in points), per_class])
    y = np.log(np.maximum(errors, LEAST_WRONG))
    gap = x - x.mean()
    if float(gap @ gap) < 1e-9:
        return prior.exponent
    own = -float(gap @ y) / float(gap @ gap)
    weights = 1 / OWN_SPREAD**2, 1 / max(prior.exponent_spread, 0.05) ** 2
    return float(np.clip((weights[0] * own + weights[1] * prior.exponent) / sum(weights), 0, 1))


def _some(labels: Numbers, shot: int, random: np.random.Generator) -> Numbers:
    """Numbers of ``shot`` images of each class."""
    parts = [
        random.choice(np.flatnonzero(labels == k), shot, replace=False) for k in np.unique(labels)
    ]
    return np.concatenate(parts)
