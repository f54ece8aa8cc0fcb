"""A signal as it was read: leads sampled together over some time."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MOST_LEADS = 256
RATES = (0.1, 100_000.0)  # samples per second that are believed

_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3}


@dataclass(frozen=True)
class Recording:
    """Leads by name, ``rate`` samples per second, ``values`` float32 ``(C, L)``.

    In millivolts where the file names a voltage; NaN where a value is not known.
    """

    leads: tuple[str, ...]
    rate: float
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Span:
    """Which samples of a file are read: ``count`` from ``first``."""

    first: int
    count: int


def middle_span(n: int, rate: float, seconds: float) -> Span:
    """The middle of a recording of ``n`` samples, so many seconds of it, or all of a shorter one.

    >>> middle_span(1000, 100.0, 2.0)
    Span(first=400, count=200)
    """
    count = min(n, max(1, round(seconds * rate)))
    return Span((n - count) // 2, count)


def plain_lead(name: str) -> str:
    """A lead's name by which it is compared, however it is written.

    >>> plain_lead("Lead avR"), plain_lead("v1"), plain_lead("MLII")
    ('avr', 'v1', 'ii')
    """
    text = re.sub(r"[^a-z0-9]", "", name.lower())
    text = text.removeprefix("lead")
    return {"mli": "i", "mlii": "ii", "mliii": "iii"}.get(text, text)


def in_millivolts(unit: str) -> float:
    """What values of a unit are multiplied by to be millivolts; 1 where it is no voltage.

    >>> in_millivolts("uV"), in_millivolts("mmHg")
    (0.001, 1.0)
    """
    return _MILLIVOLTS.get(unit.strip().lower(), 1.0)


def modality_of(leads: tuple[str, ...]) -> str | None:
    """``ECG`` where a lead has one of its names; else not known."""
    known = {plain_lead(name) for name in STANDARD_LEADS}
    return "ECG" if known & {plain_lead(name) for name in leads} else None
