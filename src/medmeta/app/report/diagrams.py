"""The geometry of reliability diagrams and decision curves; the templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medmeta.app.report.numbers import wilson
from medmeta.trust.results import Bin, NetBenefit

LEFT, RIGHT, TOP, BOTTOM = 44, 344, 14, 254
BINS = 10


@dataclass(frozen=True)
class Dot:
    """A bin of a reliability diagram: where it is drawn, its interval's ends, and how many."""

    x: float
    y: float
    low: float
    high: float
    count: int


def reliability_dots(bins: Sequence[Bin]) -> list[Dot]:
    """Dots for the bins that hold answers."""
    dots = []
    for part in bins:
        if part.count and part.confidence is not None:
            share = wilson(part.right, part.count)
            ends = (_up(share.value), _up(share.low), _up(share.high))
            dots.append(Dot(_across(part.confidence), *ends, part.count))
    return dots


def confidence_bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Bin]:
    """Answers ``(Q,)`` by confidence, in ten bins of equal width; those without are left out.

    >>> bins = confidence_bins(np.array([0.91, 0.95, 0.2]), np.array([True, False, True]))
    >>> [(round(b.low, 1), b.count, b.right) for b in bins if b.count]
    [(0.2, 1, 1), (0.9, 2, 1)]
    """
    known = np.isfinite(confidence)
    confidence, right = confidence[known], right[known]
    place = np.minimum((confidence * BINS + 1e-9).astype(int), BINS - 1)
    found = []
    for k in range(BINS):
        inside = place == k
        n = int(inside.sum())
        mean = float(confidence[inside].mean()) if n else None
        found.append(Bin(k / BINS, (k + 1) / BINS, n, mean, int(right[inside].sum())))
    return found


@dataclass(frozen=True)
class BenefitCurve:
    """A class's decision curve: two lines as SVG points, and ticks ``(place, text)``."""

    positive: str
    predictor: str
    treat_all: str
    zero: float
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def benefit_curves(points: Sequence[NetBenefit]) -> list[BenefitCurve]:
    """One drawing per class that has two points or more; far below zero is cut off."""
    curves = []
    for name in dict.fromkeys(p.positive for p in points):
        mine = sorted((p for p in points if p.positive == name), key=lambda p: p.threshold)
        values = [v for p in mine for v in (p.predictor, p.treat_all) if math.isfinite(v)]
        if len(mine) < 2 or not values:
            continue
        top = max(0.1, *values) * 1.08
        bottom = -top / 4

        def up(value: float, top: float = top, bottom: float = bottom) -> float:
            share = (max(value, bottom) - bottom) / (top - bottom)
            return round(BOTTOM - share * (BOTTOM - TOP), 1)

        predictor = " ".join(f"{_across(p.threshold)},{up(p.predictor)}" for p in mine)
        treat_all = " ".join(f"{_across(p.threshold)},{up(p.treat_all)}" for p in mine)
        x = tuple((_across(t), f"{t:.0%}") for t in (0, 0.25, 0.5, 0.75, 1))
        y = tuple((up(v), f"{v:.2f}") for v in (0.0, top / 2.16, top / 1.08))
        curves.append(BenefitCurve(name, predictor, treat_all, up(0.0), x, y))
    return curves


def _across(value: float) -> float:
    return round(LEFT + value * (RIGHT - LEFT), 1)


def _up(value: float) -> float:
    return round(BOTTOM - value * (BOTTOM - TOP), 1)
