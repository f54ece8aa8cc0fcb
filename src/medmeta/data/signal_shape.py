"""From a recording to the fixed shape that encoders take: leads, rate, length, scale."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medmeta.data.recording import Recording, plain_lead
from medmeta.errors import UnreadableImageError

if TYPE_CHECKING:
    from medmeta.data.preprocess import Preprocessing

FEWEST = 16  # samples; fewer show no wave
MOST_UNKNOWN = 0.1  # the share of a lead that may be bridged by straight lines
_LARGEST = 20.0  # deviations, or millivolts; beyond lies a lead that came off
_FLAT = 1e-6
# Limb leads by the two that they are sums of: Einthoven's law and Goldberger's averages.
_DERIVED = {
    "iii": ("i", "ii", -1.0, 1.0),
    "avr": ("i", "ii", -0.5, -0.5),
    "avl": ("i", "ii", 1.0, -0.5),
    "avf": ("i", "ii", -0.5, 1.0),
}


def prepare_signal(recording: Recording, preprocessing: Preprocessing) -> NDArray[np.float16]:
    """A recording as float16 ``(C, samples)``: the leads that are asked for, at one rate.

    Short gaps are bridged by straight lines. A longer recording is cut to its middle, a shorter
    one stands between zeros. Each lead has its median taken away, and is divided by its standard
    deviation unless millivolts are asked for. Raises ``UnreadableImageError``, a reason alone.
    """
    n = recording.values.shape[1]
    if n < FEWEST:
        samples = "1 sample" if n == 1 else f"{n} samples"
        raise UnreadableImageError(
            f"has {samples} in each lead; a signal needs {FEWEST} or more, so export it whole."
        )
    known = leads_by_name(recording)
    names = preprocessing.lead_names
    whole = np.stack([_bridged(lead_of(name, known), name) for name in names])
    whole -= np.median(whole, axis=1, keepdims=True)
    at_rate = _resampled(whole, recording.rate, preprocessing.rate)
    cut = _cut(at_rate, preprocessing.samples)
    if preprocessing.scaling == "lead":
        spread = cut.std(axis=1, keepdims=True)
        cut = np.where(spread > _FLAT, cut / np.maximum(spread, _FLAT), 0.0)
    shown = _between_zeros(cut, preprocessing.samples).clip(-_LARGEST, _LARGEST)
    return shown.astype(np.float16) + np.float16(0)  # of -0 and 0, which are equal, one


def leads_by_name(recording: Recording) -> dict[str, NDArray[np.float32]]:
    """The values of each lead, by the name that it is compared by."""
    each = zip(recording.leads, recording.values, strict=True)
    return {plain_lead(name): values for name, values in each}


def lead_of(name: str, known: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """A lead by its name; a limb lead is worked out where I and II are there."""
    plain = plain_lead(name)
    if plain in known:
        return known[plain].astype(np.float64)
    first, second, *weights = _DERIVED.get(plain, ("", "", 0.0, 0.0))
    if first in known and second in known:
        one, other = (float(weight) for weight in weights)
        return one * known[str(first)].astype(np.float64) + other * known[str(second)]
    raise UnreadableImageError(
        f"has no lead {name}; it has {', '.join(known) or 'none'}. Say which to use with --leads."
    )


def _bridged(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Values with straight lines over short gaps."""
    good = np.isfinite(values)
    if good.all():
        return values
    share = 1 - good.mean()
    if share > MOST_UNKNOWN:
        how = "no value at all" if not good.any() else f"no value for {share:.0%} of its samples"
        raise UnreadableImageError(
            f"has {how} in lead {name}; leave the lead out with --leads, or the recording."
        )
    places = np.arange(len(values))
    return np.interp(places, places[good], values[good])


def _resampled(values: NDArray[np.float64], rate: float, wanted: float) -> NDArray[np.float64]:
    """``(C, L)`` at another rate, with what it cannot show filtered out first."""
    # Fine enough for the ratio itself: of one below a thousandth nothing would be left.
    ratio = Fraction(wanted / rate).limit_denominator(max(1000, math.ceil(100 * rate / wanted)))
    if ratio == 1:
        return values
    from scipy.signal import resample_poly  # here: it takes long to import

    found: NDArray[np.float64] = resample_poly(
        values, ratio.numerator, ratio.denominator, axis=1, padtype="line"
    )
    return found


def _cut(values: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """Its middle, where it is longer."""
    first = max(0, (values.shape[1] - samples) // 2)
    return values[:, first : first + samples]


def _between_zeros(values: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    before = (samples - values.shape[1]) // 2
    return np.pad(values, ((0, 0), (before, samples - values.shape[1] - before)))
