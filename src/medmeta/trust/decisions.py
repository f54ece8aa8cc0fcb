"""From probabilities to decisions: operating points, net benefit, more labels, subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medmeta.errors import SettingsError
from medmeta.trust.bounds import share_interval
from medmeta.trust.results import Figure, LabelPoint, NetBenefit, OperatingPoint, Subgroup

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
SMALL_GROUP = 20
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
UNKNOWN = "not known"


def threshold_for_sensitivity(scores: Array, positive: NDArray[np.bool_], target: float) -> float:
    """The highest threshold at which at least ``target`` of the positive images are found.

    >>> threshold_for_sensitivity(np.array([0.9, 0.7, 0.2]), np.array([True, True, False]), 1.0)
    0.7
    """
    found = np.sort(scores[positive])[::-1]
    if not len(found):
        raise SettingsError("no image of the class is there to choose a threshold by.")
    needed = max(1, int(np.ceil(target * len(found) - 1e-9)))
    return float(found[needed - 1])


def threshold_for_cost(missed: float, false_alarm: float) -> float:
    """Where a calibrated probability is worth acting on (Pauker and Kassirer 1980).

    ``missed`` and ``false_alarm`` are what one of each costs, in any unit.

    >>> threshold_for_cost(9, 1)
    0.1
    """
    if not (missed > 0 and false_alarm > 0):
        raise SettingsError("costs of a missed finding and of a false alarm are above 0.")
    return false_alarm / (missed + false_alarm)


def operating_point(
    probabilities: Array,
    labels: Numbers,
    groups: Numbers,
    folds: Numbers,
    *,
    positive: int,
    name: str,
    sensitivity: float | None = None,
    costs: tuple[float, float] | None = None,
    precision: float = 1.0,
) -> OperatingPoint:
    """A threshold on the probability of class ``positive``, and what it gives on held-out folds.

    ``probabilities`` ``(n, K)`` and ``folds`` ``(n,)`` of one repeat. For a target
    ``sensitivity`` the threshold used on each fold is chosen by the others, so that the figures
    are not of the images it was chosen by. ``precision`` as of ``share_interval``.
    """
    scores, mine = probabilities[:, positive], labels == positive
    if costs is not None:
        chosen = threshold_for_cost(*costs)
        used = np.full(len(labels), chosen)
        aim = f"a missed one costs {costs[0]:g}, a false alarm {costs[1]:g}"
    elif sensitivity is not None and 0 < sensitivity <= 1:
        chosen = threshold_for_sensitivity(scores, mine, sensitivity)
        used = np.full(len(labels), chosen)
        for fold in np.unique(folds):
            others = folds != fold
            used[~others] = threshold_for_sensitivity(scores[others], mine[others], sensitivity)
        aim = f"sensitivity {100 * sensitivity:g} %"
    else:
        raise SettingsError("say a target sensitivity (above 0, at most 1) or two costs.")
    acted = (scores >= used - 1e-12).astype(np.float64)
    found, _ = share_interval(acted[mine], groups[mine], precision=precision)
    spared, _ = share_interval(1 - acted[~mine], groups[~mine], precision=precision)
    return OperatingPoint(name, aim, chosen, found, spared)


def net_benefit(
    scores: Array, positive: NDArray[np.bool_], threshold: float
) -> tuple[float, float]:
    """Net benefit at a threshold, of acting by the scores and of always acting.

    Vickers and Elkin 2006: true positives less false ones weighed by the odds, per image.

    >>> net_benefit(np.array([0.9, 0.1]), np.array([True, False]), 0.5)
    (0.5, 0.0)
    """
    odds, n = threshold / (1 - threshold), len(scores)
    acted = scores >= threshold
    mine = float((acted & positive).sum() - odds * (acted & ~positive).sum()) / n
    return mine, float(positive.sum() - odds * (~positive).sum()) / n


def decision_curve(probabilities: Array, labels: Numbers, names: Sequence[str]) -> list[NetBenefit]:
    """Net benefit for each class against the rest; of two classes, for the second."""
    found = []
    for k in [1] if len(names) == 2 else range(len(names)):
        for threshold in THRESHOLDS:
            by_score, by_all = net_benefit(probabilities[:, k], labels == k, threshold)
            found.append(NetBenefit(names[k], threshold, by_score, by_all))
    return found


def more_labels(
    accuracy: Figure, per_class: float, *, exponent: float, spread: float, added: Sequence[int]
) -> list[LabelPoint]:
    """What accuracy to expect with more images per class (wrong answers fall by a power).

    ``exponent`` with its ``spread`` over source tasks; the interval holds both what the accuracy
    now may be and how differently tasks learn.
    """
    if accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return []
    found = []
    for more in added:
        ratio = (per_class + more) / per_class
        slow, fast = max(0.0, exponent - 2 * spread), exponent + 2 * spread
        value, low, high = (
            1 - (1 - share) * ratio**-power
            for share, power in (
                (accuracy.value, exponent),
                (accuracy.low, slow),
                (accuracy.high, fast),
            )
        )
        found.append(LabelPoint(per_class + more, Figure(value, low, high), measured=False))
    return found


def subgroups(
    right: Array,
    groups: Numbers,
    columns: Mapping[str, Sequence[str | None]],
    *,
    precision: float = 1.0,
) -> list[Subgroup]:
    """Accuracy on held-out images of each group of each column that has two or more.

    ``right`` ``(n,)`` is each image's share of right answers over repeats; ``precision`` as of
    ``share_interval``.
    """
    found = []
    for column, texts in columns.items():
        named = np.array([UNKNOWN if text is None else text for text in texts], dtype=object)
        if len(set(named.tolist()) - {UNKNOWN}) < 2:
            continue
        for name in sorted(set(named.tolist())):
            inside = named == name
            figure, _ = share_interval(right[inside], groups[inside], precision=precision)
            n = len(np.unique(groups[inside]))
            small = f"{n} are too few to compare" if n < SMALL_GROUP else ""
            found.append(Subgroup(column, name, int(inside.sum()), figure, small))
    return found
