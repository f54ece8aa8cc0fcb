"""Quantiles of the beta distribution, without the time that SciPy takes to import."""

from __future__ import annotations

import math

CLOSE = 1e-15
TERMS = 10_000
HALVINGS = 200


def beta_quantile(a: float, b: float, share: float) -> float:
    """The ``x`` below which a share of the beta distribution lies; ``a`` and ``b`` above 0.

    By Newton's steps kept within a bracket that every step narrows.

    >>> round(beta_quantile(1.0, 1.0, 0.3), 12)
    0.3
    """
    low, high, x = 0.0, 1.0, a / (a + b)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(HALVINGS):
        gap = incomplete_beta(a, b, x) - share
        low, high = (low, x) if gap > 0 else (x, high)
        slope = scale + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x)
        step = gap * math.exp(-slope) if slope > -700 else math.inf
        new = x - step
        new = new if low < new < high else (low + high) / 2
        if abs(new - x) <= CLOSE * x or new in (0.0, 1.0):
            return new
        x = new
    return x


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The share of the beta distribution below ``x``, which lies between 0 and 1.

    The continued fraction of DLMF 8.17.22 by Lentz's method; of the side where it is short.

    >>> round(incomplete_beta(2.0, 1.0, 0.5), 12)
    0.25
    """
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = a * math.log(x) + b * math.log1p(-x)
    front += math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / (1 + term * d), 1 + term / c
            fraction *= c * d
        if abs(c * d - 1) < CLOSE:
            break
    return math.exp(front) * fraction / a
