"""Small pictures of prepared signals, for people: a few leads one above the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 96, 192
_MOST_LEADS = 3
_TALLEST = 6.0  # deviations from the middle that a lead's band shows


def traces(signals: NDArray[Any]) -> NDArray[np.uint8]:
    """Signals ``(n, C, L)`` as black lines on white, ``(n, 1, 96, 192)``.

    Of more than three leads, three that lie evenly among them. Each column of pixels is inked from
    the smallest to the largest value of its share of the samples.

    >>> traces(np.zeros((2, 12, 500), np.float16)).shape
    (2, 1, 96, 192)
    """
    n, leads, length = signals.shape
    shown = np.unique(np.linspace(0, leads - 1, min(leads, _MOST_LEADS)).round().astype(int))
    edges = np.linspace(0, length, WIDTH + 1).astype(int)
    starts = np.minimum(edges[:-1], length - 1)
    band = HEIGHT // len(shown)
    pictures = np.full((n, 1, HEIGHT, WIDTH), 255, np.uint8)
    for place, lead in enumerate(shown):
        values = signals[:, lead].astype(np.float32)
        high = np.maximum.reduceat(values, starts, axis=1)
        low = np.minimum.reduceat(values, starts, axis=1)
        rows = np.arange(band)[None, :, None]
        top = _row(high, band)[:, None]
        bottom = _row(low, band)[:, None]
        inked = (rows >= top) & (rows <= bottom)
        part = pictures[:, 0, place * band : (place + 1) * band]
        part[inked] = 0
    return pictures


def _row(values: NDArray[np.float32], band: int) -> NDArray[np.int64]:
    """The row of a band that a value is drawn at."""
    share = 0.5 - values / (2 * _TALLEST)
    return np.asarray(np.rint(share * (band - 1)).clip(0, band - 1), dtype=np.int64)
