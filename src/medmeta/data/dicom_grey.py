"""Grey levels of a DICOM frame brought to 8 bits: by a window, or by its own range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.windows import Window

if TYPE_CHECKING:
    from pydicom import Dataset

PERCENTILES = (0.5, 99.5)
_TABLE_BYTES = 2  # whole numbers of up to two bytes are looked up, which is several times faster


@dataclass(frozen=True)
class Levels:
    """From numbers as stored to grey levels: rescaled, then shown between two ends.

    ``function`` as DICOM names it (PS3.3 C.11.2.1.2 and C.11.2.1.3): ``LINEAR``, ``LINEAR_EXACT``
    or ``SIGMOID``.
    """

    slope: float
    intercept: float
    centre: float
    width: float
    function: str = "LINEAR"
    inverted: bool = False

    def of(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Grey levels of numbers as stored, of any shape."""
        if values.dtype.kind in "iu" and values.dtype.itemsize <= _TABLE_BYTES:
            native = values.astype(values.dtype.newbyteorder("="), copy=False)
            unsigned = native.view(f"u{native.dtype.itemsize}")
            return _table(self, native.dtype.str).take(unsigned)
        return self._shown(values)

    def _shown(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        units = values.astype(np.float64) * self.slope + self.intercept
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                share = 1 / (1 + np.exp(-4 * (units - self.centre) / self.width))
        elif self.function == "LINEAR_EXACT":
            share = (units - self.centre) / self.width + 0.5
        else:
            share = (units - (self.centre - 0.5)) / max(self.width - 1, 1e-9) + 0.5
        share = np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
        return np.rint((1 - share if self.inverted else share) * 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _table(levels: Levels, dtype: str) -> NDArray[np.uint8]:
    """The grey level of every number that a type holds, in the order of its bits unsigned."""
    kind = np.dtype(dtype)
    bits = np.arange(2 ** (8 * kind.itemsize), dtype=f"u{kind.itemsize}")
    return levels._shown(bits.view(kind))


def own_window(holder: Dataset) -> tuple[float, float, str] | None:
    """The first window of a header that can be used: centre, width and function."""
    centre, width = (_first(holder.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = str(holder.get("VOILUTFunction") or "LINEAR").upper()
    least = 1.0 if function == "LINEAR" else 1e-9
    if centre is None or width is None or not width >= least:
        return None
    known = function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    return centre, width, function if known else "LINEAR"


def asked_levels(window: Window, slope: float, intercept: float, *, inverted: bool) -> Levels:
    """Those of a window that the user asked for, from its lower to its upper end."""
    return Levels(slope, intercept, window.centre, window.width, "LINEAR_EXACT", inverted)


def range_levels(values: NDArray[Any], padding: float | None, *, inverted: bool) -> Levels:
    """Those that show a frame from its 0.5th to its 99.5th percentile, its padding left out."""
    counted = values if padding is None else values[values != padding]
    if counted.dtype.kind == "f":
        counted = counted[np.isfinite(counted)]
    if not counted.size:
        return Levels(1.0, 0.0, 0.0, 1.0, "LINEAR_EXACT", inverted)
    low, high = (float(p) for p in np.percentile(counted, PERCENTILES))
    if not high > low:
        low, high = float(counted.min()), float(counted.max())
    return Levels(1.0, 0.0, (low + high) / 2, max(high - low, 1e-9), "LINEAR_EXACT", inverted)


def full_levels(bits: int, *, inverted: bool) -> Levels:
    """Those that show unsigned numbers of so many bits from none to all."""
    full = 2**bits - 1
    return Levels(1.0, 0.0, full / 2, full, "LINEAR_EXACT", inverted)


def _first(value: Any) -> float | None:
    if value is None or isinstance(value, str):
        return None
    if hasattr(value, "__iter__"):
        value = next(iter(value), None)
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
