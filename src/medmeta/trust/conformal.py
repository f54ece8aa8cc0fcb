"""Sets of classes that hold the true one as often as was asked: conformal prediction.

Scores are nonconformities: large where a class does not fit. All p-values are of ranks, so nothing
is assumed of the scores but that the images to be answered are like those held out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
_ROUNDING = 1e-9


def margins(logits: Array) -> Array:
    """``(..., K)``: how far each class lies behind the best of the others; a nonconformity.

    A temperature scales all alike, and so changes no set.

    >>> margins(np.array([3.0, 1.0, 0.0])).tolist()
    [-2.0, 2.0, 3.0]
    """
    order = np.sort(logits, axis=-1)
    best, second = order[..., -1:], order[..., -2:-1]
    return np.asarray(np.where(logits == best, second, best) - logits)


def own_scores(scores: Array, labels: Numbers) -> Array:
    """The score ``(n,)`` of each image's true class, from scores ``(n, K)``."""
    return np.asarray(np.take_along_axis(scores, labels[:, None], 1)[:, 0])


def split_p_values(held: Array, asked: Array, chance: Array | None = None) -> Array:
    """p-values of scores ``asked`` ``(...)`` among held-out images' own scores ``(n,)``.

    Vovk, Gammerman and Shafer 2005, eq. 2.20: the share, counting the image itself, that is at
    least as large. With ``chance`` (uniform, of the shape of ``asked``) equal ones count in part,
    and a p-value is uniform to the dot; without, it is a little larger, which is safe.

    >>> split_p_values(np.array([1.0, 2.0, 3.0]), np.array([2.5, 9.0])).tolist()
    [0.5, 0.25]
    """
    ordered = np.sort(held)
    above = len(held) - np.searchsorted(ordered, asked, side="right")
    equal = np.searchsorted(ordered, asked, side="right") - np.searchsorted(ordered, asked)
    part = np.ones_like(asked) if chance is None else chance
    return np.asarray((above + part * (equal + 1)) / (len(held) + 1))


def cross_p_values(
    scores: Array, folds: Numbers, asked: Array, chance: Array | None = None
) -> Array:
    """p-values ``(Q, K)`` by all folds together (Vovk 2015, eq. 2).

    ``scores`` ``(n,)`` are held-out images' own, ``folds`` ``(n,)`` where they were held out;
    ``asked`` ``(F, Q, K)`` the scores by the predictor of each fold, in the order of the folds'
    numbers. Coverage at level 1 − α is never below 1 − 2α, and about 1 − α in practice.
    """
    part = 1.0 if chance is None else chance
    counted = np.zeros(asked.shape[1:])
    for place, fold in enumerate(np.unique(folds)):
        held = scores[folds == fold]
        whole = split_p_values(held, asked[place]) * (len(held) + 1) - 1
        if chance is not None:
            ordered = np.sort(held)
            right = np.searchsorted(ordered, asked[place], side="right")
            equal = right - np.searchsorted(ordered, asked[place])
            whole = whole - (1 - chance) * equal
        counted += whole
    return np.asarray((counted + part) / (len(scores) + 1))


def by_class(
    scores: Array, labels: Numbers, folds: Numbers, asked: Array, chance: Array | None = None
) -> Array:
    """Class-conditional p-values ``(Q, K)``: each class among its own images only.

    As ``cross_p_values``; so coverage holds within every class (Mondrian; Vovk 2012).
    """
    found = np.ones(asked.shape[1:])
    for label in range(asked.shape[2]):
        mine = labels == label
        if not mine.any():
            continue
        kept = np.isin(np.unique(folds), np.unique(folds[mine]))
        drawn = None if chance is None else chance[:, label : label + 1]
        one = cross_p_values(scores[mine], folds[mine], asked[kept][:, :, label : label + 1], drawn)
        found[:, label] = one[:, 0]
    return found


def prediction_sets(p_values: Array, level: float) -> NDArray[np.bool_]:
    """Which classes ``(Q, K)`` are in each set: those whose p-value is above 1 − ``level``."""
    return np.asarray(p_values > 1 - level + _ROUNDING)


def exact_coverage(n: int, level: float) -> float:
    """The coverage of split sets in the mean, with ``n`` images held out and no equal scores.

    >>> round(exact_coverage(25, 0.9), 3)
    0.923
    """
    return min(1.0, math.ceil((n + 1) * level - _ROUNDING) / (n + 1))


def fewest_images(level: float) -> int:
    """How many held-out images a set at this level needs, to ever leave a class out.

    >>> fewest_images(0.9), fewest_images(0.95)
    (9, 19)
    """
    return math.ceil(level / (1 - level) - _ROUNDING)


def least_coverage(n: int, folds: int, level: float) -> float:
    """What crossed sets hold the true class in at least, whatever the predictor.

    Barber, Candès, Ramdas and Tibshirani 2021, theorem 4, of ``n`` images in so many equal folds:
    twice the error that is asked for, and a term that is small for few folds of many images and
    for one image to a fold.

    >>> round(least_coverage(25, 25, 0.9), 12), round(least_coverage(25, 5, 0.9), 3)
    (0.8, 0.667)
    """
    lost = min(2 * (1 - 1 / folds) / (n / folds + 1), (1 - folds / n) / (folds + 1))
    return max(0.0, 1 - 2 * (1 - level) - lost)


def least_percent(n: int, folds: int, level: float) -> int:
    """The same in whole per cent, never more, of ``n`` images that some folds may hold none of.

    >>> least_percent(20, 5, 0.9), least_percent(3, 5, 0.9)
    (67, 80)
    """
    return math.floor(100 * least_coverage(n, min(folds, n), level) + _ROUNDING)


def guarantee(
    counts: Sequence[int], level: float, *, folds: int, per_class: bool, unit: str = "images"
) -> str:
    """What crossed sets at this level promise with so many images of each class, in words.

    ``folds`` they were held out in. Where patients have several images, ``counts`` are of patients
    and ``unit`` says so: images of one are not like images of another. Of these theory knows the
    lower bound alone. In practice coverage is the mean that is exact for split sets, or up to three
    points above it: a crossed p-value is a mean over predictors, which is seldom extreme.

    >>> guarantee([5, 5], 0.9, folds=5, per_class=True)
    'no guarantee possible with 5 images per class at level 90 %: sets within each class need 9'
    """
    percent = f"{100 * level:g} %"
    n = min(counts) if per_class else sum(counts)
    needed = fewest_images(level)
    what = f"{n} {unit} per class" if per_class else f"{n} {unit}"
    where = "sets within each class need" if per_class else "sets need"
    if n < needed:
        return f"no guarantee possible with {what} at level {percent}: {where} {needed}"
    mean, least = 100 * exact_coverage(n, level), least_percent(n, folds, level)
    inside = ", within each class" if per_class else ""
    return (
        f"with {what} a set holds the true class in about {mean:.1f} % of images{inside} "
        f"(at least {least} % whatever the predictor), if they are like the support's"
    )
