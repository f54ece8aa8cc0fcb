"""What the values of a volume are, found in one pass: their range, and whether they are labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLE = 1_000_000
_FEW = 256
_ALIKE = 0.75
_PERCENTILES = (0.5, 99.5)


class VoxelTally:
    """The range of a volume's values, from a million of its voxels and from all extremes.

    Parts of the volume ``(X, Y, k)`` are given to ``add`` one after the other; ``n_voxels`` is
    the number in all.

    >>> tally = VoxelTally(8)
    >>> tally.add(np.array([[[0], [0]], [[0], [0]], [[3], [3]], [[3], [3]]]))
    >>> tally.span(), tally.labels()
    ((0.0, 3.0), True)
    """

    def __init__(self, n_voxels: int) -> None:
        self._step = max(1, n_voxels // _SAMPLE)
        self._lines: list[NDArray[Any]] = []
        self._low, self._high = np.inf, -np.inf

    def add(self, block: NDArray[Any]) -> None:
        """Count a part of the volume."""
        low, high = float(np.fmin.reduce(block, axis=None)), float(np.fmax.reduce(block, axis=None))
        self._low, self._high = np.fmin(self._low, low), np.fmax(self._high, high)
        lines = block.reshape(len(block), -1)  # whole lines, in which neighbours can be compared
        self._lines.append(lines[:, :: self._step].copy())

    def span(self) -> tuple[float, float] | None:
        """The values to be black and white; None where there is no number at all.

        They are the 0.5th and the 99.5th percentile, so that a single bright voxel does not
        darken all others; of few values, the smallest and the largest.
        """
        values = np.concatenate([lines.ravel() for lines in self._lines])
        values = values[np.isfinite(values)]
        if not len(values):
            return None
        low, high = (float(p) for p in np.percentile(values, _PERCENTILES))
        if low == high or self._distinct() <= _FEW:
            ends = (float(self._low), float(self._high))
            if np.isfinite(ends).all():
                return ends
        return low, high

    def labels(self) -> bool:
        """Whether whole numbers look like labels: few, and neighbours mostly alike.

        Voxels of the commonest value, the background, are not counted.
        """
        values = np.concatenate([lines.ravel() for lines in self._lines])
        if values.dtype.kind == "f" and (not np.isfinite(values).all() or (values % 1 != 0).any()):
            return False
        names, counts = np.unique(values, return_counts=True)
        if not 2 <= len(names) <= _FEW:
            return False
        background = names[counts.argmax()]
        alike = pairs = 0
        for lines in self._lines:
            first, second = lines[:-1], lines[1:]
            inside = (first != background) & (second != background)
            pairs += int(inside.sum())
            alike += int((inside & (first == second)).sum())
        return pairs == 0 or alike / pairs >= _ALIKE

    def _distinct(self) -> int:
        return len(np.unique(np.concatenate([lines.ravel() for lines in self._lines])))
