"""Headers of WFDB records: what a ``.hea`` file says of its signals, within bounds.

The layout is that of header(5) of the WFDB Applications Guide (Moody, PhysioNet).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medmeta.data.recording import MOST_LEADS, RATES
from medmeta.errors import UnreadableImageError

HEADER_SUFFIX = ".hea"
_MOST_BYTES = 1_000_000
_MOST_SAMPLES = 10**12
_RATE = 250.0  # where a header says none
_GAIN = 200.0  # likewise, or where it says 0: units of the converter per millivolt
_FORMAT = re.compile(r"(?P<code>\d+)(x(?P<per>\d+))?(:(?P<skew>\d+))?(\+(?P<offset>\d+))?")
_SCALE = re.compile(r"(?P<gain>[-+.\deE]+)(\((?P<zero>-?\d+)\))?(/(?P<unit>\S+))?")
_SEX = re.compile(r"\bsex\W{0,3}\s*(m|f|male|female)\b", re.IGNORECASE)


@dataclass(frozen=True)
class WfdbSignal:
    """One lead: where its samples lie, and ``(sample - zero) / gain`` is its value in ``unit``."""

    file: str
    code: int
    offset: int
    gain: float
    zero: int
    unit: str
    name: str


@dataclass(frozen=True)
class WfdbHeader:
    """A record: samples per second, samples of each lead (0: not said), leads; and the sex."""

    rate: float
    samples: int
    signals: tuple[WfdbSignal, ...]
    sex: str | None = None


def read_header(path: Path) -> WfdbHeader:
    """Read a ``.hea`` file; raises ``UnreadableImageError`` with the reason alone.

    Nothing of its comments is kept but the patient's sex.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UnreadableImageError(f"cannot be read ({error.strerror}).") from None
    if len(content) > _MOST_BYTES:
        raise UnreadableImageError("is far too long for the header of a WFDB record.")
    lines = content.decode("utf-8", "replace").splitlines()
    told = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not told:
        raise UnreadableImageError("is an empty header; copy the record again.")
    rate, samples, n = _record_line(told[0].split())
    if len(told) - 1 < n:
        raise UnreadableImageError(
            f"is cut short: it speaks of {n} leads, and describes {len(told) - 1}."
        )
    signals = tuple(_signal(number, line) for number, line in enumerate(told[1 : n + 1], start=1))
    sex = next((found[1][0].upper() for line in lines if (found := _SEX.search(line))), None)
    return WfdbHeader(rate, samples, signals, sex)


def _record_line(words: list[str]) -> tuple[float, int, int]:
    """Rate, samples and number of leads."""
    if "/" in words[0]:
        raise UnreadableImageError(
            "is a record of several segments, which are not put together; name its segments."
        )
    try:
        n = int(words[1])
        rate = float(re.split(r"[/(]", words[2])[0]) if len(words) > 2 else _RATE
        samples = int(words[3]) if len(words) > 3 else 0
    except (IndexError, ValueError):
        raise UnreadableImageError(
            "is no header of a WFDB record: its first line should be a name, the number of leads, "
            "samples per second and samples."
        ) from None
    if not 1 <= n <= MOST_LEADS:
        raise UnreadableImageError(f"has {n} leads, where 1 to {MOST_LEADS} are read.")
    if not RATES[0] <= rate <= RATES[1] or not 0 <= samples <= _MOST_SAMPLES:
        raise UnreadableImageError(
            f"has {rate:g} samples per second and {samples} samples, which cannot be."
        )
    return rate, samples, n


def _signal(number: int, line: str) -> WfdbSignal:
    """A line that describes one lead."""
    words = line.split(None, 8)
    found = _FORMAT.fullmatch(words[1]) if len(words) > 1 else None
    scale = _SCALE.fullmatch(words[2]) if len(words) > 2 else None
    try:
        if found is None or (scale is None and len(words) > 2):
            raise ValueError
        gain = float(scale["gain"]) if scale else _GAIN
        adc_zero = int(words[4]) if len(words) > 4 else 0
    except ValueError:
        raise UnreadableImageError(
            f"is damaged: lead {number} is not described as WFDB does it."
        ) from None
    if int(found["per"] or 1) != 1 or int(found["skew"] or 0):
        raise UnreadableImageError(
            f"has lead {number} sampled at another rate or time than the others, which is not "
            "read; write it at one rate."
        )
    if Path(words[0]).name != words[0] or words[0] in ("-", "~", "..", "."):
        raise UnreadableImageError(
            f"says that lead {number} lies in another folder; put its file beside the header."
        )
    zero = int(scale["zero"]) if scale and scale["zero"] else adc_zero
    unit = (scale["unit"] if scale else None) or "mV"
    name = words[8].strip() if len(words) > 8 else f"lead {number}"
    offset = int(found["offset"] or 0)
    return WfdbSignal(words[0], int(found["code"]), offset, gain or _GAIN, zero, unit, name)
