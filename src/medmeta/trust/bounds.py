"""Intervals of shares, areas and means of shares, from few images."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from medmeta.trust.incomplete_beta import beta_quantile
from medmeta.trust.results import Figure, defined

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
LEVEL = 0.95
FEWEST_PATIENTS = 30  # below these a bootstrap of patients is too narrow
RESAMPLES = 2000


def exact_share(right: float, n: float, *, level: float = LEVEL) -> Figure:
    """Clopper and Pearson's interval of a share; ``right`` and ``n`` need not be whole.

    >>> exact_share(5, 5)
    Figure(value=1.0, low=0.478..., high=1.0)
    """
    if not n > 0:
        return Figure()
    right, tail = min(max(right, 0.0), n), (1 - level) / 2
    low = beta_quantile(right, n - right + 1, tail) if right > 0 else 0.0
    high = beta_quantile(right + 1, n - right, 1 - tail) if right < n else 1.0
    return Figure(right / n, low, high)


def group_means(values: Array, groups: Numbers) -> tuple[Array, Array]:
    """Sum and count of ``values`` ``(n,)`` within each group."""
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, values).astype(np.float64, copy=False)
    return sums, np.bincount(place).astype(np.float64)


def share_interval(
    right: Array, groups: Numbers, *, precision: float = 1.0, seed: int = 0
) -> tuple[Figure, str]:
    """The mean of ``right`` ``(n,)`` (0 to 1, of each image), and how its interval was made.

    Images of one group (patient) are not independent: from 30 patients on these are resampled,
    with fewer the exact binomial interval is that of as many images as there are patients. Patients
    with very different numbers of images count as fewer equal ones would that leave as much to
    chance (Kish 1965: ``(Σ n)² / Σ n²``). ``precision`` is how many independent images one is
    worth, as learned on source tasks.
    """
    n = len(right)
    if not n:
        return Figure(), ""
    sums, counts = group_means(right, groups)
    mean, alike = float(right.mean()), float(n**2 / np.square(counts).sum())
    found = Figure()
    if len(sums) < n and alike >= FEWEST_PATIENTS:
        found = bootstrap_share(sums, counts, seed=seed)
    if found.low is None or found.high is None:
        exact = exact_share(mean * alike * precision, alike * precision)
        unit = "images" if len(sums) == n else "patients"
        return Figure(mean, exact.low, exact.high), f"exact binomial, {len(sums)} {unit}"
    wider = max(1.0, 1 / math.sqrt(precision))
    low, high = mean - wider * (mean - found.low), mean + wider * (found.high - mean)
    return Figure(mean, max(0.0, low), min(1.0, high)), f"bootstrap of {len(sums)} patients"


def bootstrap_share(sums: Array, counts: Array, *, seed: int = 0) -> Figure:
    """SciPy's bootstrap (BCa) of a share, whole groups resampled; no interval where all agree."""
    from scipy.stats import bootstrap

    value = float(sums.sum() / counts.sum())
    if len(np.unique(sums / counts)) < 2:
        return Figure(value)
    found = bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Figure(value, defined(found.low), defined(found.high))


def mean_of_shares(shares: list[Figure]) -> Figure:
    """The mean of independent shares (balanced accuracy from sensitivities).

    Zou and Donner 2008: each limit is as far from the mean as the shares' own limits together, by
    Pythagoras.

    >>> mean_of_shares([Figure(0.5, 0.2, 0.8), Figure(0.5, 0.1, 0.9)])
    Figure(value=0.5, low=0.25, high=0.75)
    """
    known = [s for s in shares if s.value is not None and s.low is not None and s.high is not None]
    if not known:
        return Figure()
    k = len(known)
    mean = sum(s.value for s in known if s.value is not None) / k
    below = math.hypot(*((s.value or 0) - (s.low or 0) for s in known)) / k
    above = math.hypot(*((s.high or 0) - (s.value or 0) for s in known)) / k
    return Figure(mean, round(max(0.0, mean - below), 12), round(min(1.0, mean + above), 12))


def area_interval(area: float, positive: float, negative: float) -> Figure:
    """Interval of an area under the ROC curve (Newcombe 2006, method 5).

    Areas are kept whose own standard error (Hanley and McNeil 1982, with mean exponents) has the
    observed one within 1.96 of it, so that it has width at 1 too.
    """
    if area != area or positive < 1 or negative < 1:
        return Figure(defined(area))
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    tried = np.linspace(0, 1, 2001)
    m = (positive + negative) / 2 - 1
    spread = 1 + m * (1 - tried) / (2 - tried) + m * tried / (1 + tried)
    error = np.sqrt(tried * (1 - tried) * spread / (positive * negative))
    kept = tried[np.abs(tried - area) <= z * error + 1e-9]
    low, high = (kept.min(), kept.max()) if len(kept) else (area, area)
    return Figure(float(area), min(float(low), area), max(float(high), area))


def needed_for(share: float, width: float, precision: float = 1.0) -> int:
    """How many images a share's exact interval needs to be no wider than ``width``.

    >>> 80 < needed_for(0.5, 0.2) < 115
    True
    """
    low, high = 2, 20_000
    while low < high:
        n = (low + high) // 2
        found = exact_share(share * n, n)
        narrow = (found.high or 1) - (found.low or 0) <= width
        low, high = (low, n) if narrow else (n + 1, high)
    return math.ceil(low / precision)
