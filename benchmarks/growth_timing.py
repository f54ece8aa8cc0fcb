"""Seconds of a piece of work, repeated until they can be told."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def timed(work: Callable[[], object], *, least: float = 0.3, repeats: int = 3) -> float:
    """Seconds of a work: the median over repeats, after one that warms up.

    A short work is repeated within each until it takes ``least`` seconds.
    """
    start = time.perf_counter()
    work()
    once = time.perf_counter() - start
    times = max(1, int(least / max(once, 1e-7)))
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(times):
            work()
        spent.append((time.perf_counter() - start) / times)
    return statistics.median(spent)
