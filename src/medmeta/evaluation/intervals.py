"""From per-task figures to a mean with its interval, and two runs compared task by task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medmeta.errors import DataError
from medmeta.evaluation.metrics import SHARES


@dataclass(frozen=True)
class Summary:
    """A figure over tasks.

    ``low`` to ``high`` is the 95 % interval of the mean (Student's t over tasks: how well the mean
    is known, not how much tasks differ); ``spread`` is the standard deviation over tasks;
    ``worst_tenth`` the mean of the worst tenth of the tasks.
    """

    mean: float
    low: float
    high: float
    spread: float
    worst_tenth: float
    tasks: int

    def to_dict(self) -> dict[str, float | int | None]:
        """As JSON: what is not defined is null."""
        return {k: None if v != v else v for k, v in asdict(self).items()}

    def within(self, least: float, most: float) -> Summary:
        """The same with an interval that ends at what is possible."""
        low, high = (float(np.clip(end, least, most)) for end in (self.low, self.high))
        return replace(self, low=low, high=high)


def within_bounds(summaries: Mapping[str, Summary]) -> dict[str, Summary]:
    """The same by their metrics' names, with intervals of what lies from 0 to 1 cut off there.

    Student's interval of a few tasks goes on beyond what is possible; where a metric has no such
    bounds it stays as it is.

    >>> one = Summary(0.9, 0.7, 1.1, 0.1, 0.8, 5)
    >>> within_bounds({"accuracy": one})["accuracy"].high
    1.0
    >>> within_bounds({"log_loss": one})["log_loss"].high
    1.1
    """
    return {
        name: found.within(0, 1) if name in SHARES else found for name, found in summaries.items()
    }


def summarise(values: NDArray[np.float64], *, higher_is_better: bool = True) -> Summary:
    """Summary of a per-task figure; tasks where it is not defined (NaN) do not count.

    >>> summarise(np.array([1.0, 3.0])).mean
    2.0
    """
    from scipy.special import stdtrit  # here: it takes a while to import

    known = np.sort(values[~np.isnan(values)])
    n = len(known)
    if n == 0:
        return Summary(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    mean, spread = float(known.mean()), float(known.std(ddof=1)) if n > 1 else math.nan
    half = float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n) if n > 1 else math.nan
    tenth = max(1, n // 10)
    worst = known[:tenth] if higher_is_better else known[-tenth:]
    return Summary(mean, mean - half, mean + half, spread, float(worst.mean()), n)


@dataclass(frozen=True)
class Difference:
    """First minus second, task by task, with the 95 % interval of the mean difference.

    ``tasks`` and ``first_better`` are of the tasks where both are defined.
    """

    mean: float
    low: float
    high: float
    tasks: int
    first_better: float


def paired_difference(
    first: NDArray[np.float64], second: NDArray[np.float64], *, higher_is_better: bool = True
) -> Difference:
    """Compare two runs on the same tasks; ``first_better`` is the share of tasks it wins.

    Raises ``DataError`` where the numbers of tasks differ.

    >>> paired_difference(np.array([2.0, 3.0]), np.array([1.0, 2.0])).mean
    1.0
    """
    if len(first) != len(second):
        raise DataError(
            f"the runs have {len(first)} and {len(second)} tasks; only the same tasks compare."
        )
    gaps = first - second
    gap = summarise(gaps)
    wins = gaps > 0 if higher_is_better else gaps < 0
    share = float(wins.sum()) / gap.tasks if gap.tasks else math.nan
    return Difference(gap.mean, gap.low, gap.high, gap.tasks, share)
