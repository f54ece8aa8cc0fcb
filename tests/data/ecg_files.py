"""WFDB records and tables as programs write them, by hand from the formats' descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.data.synthetic_signals import synthetic_recording

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def write_record(
    path: Path,
    values: NDArray[np.floating],
    *,
    rate: float = 500,
    leads: Sequence[str] = LEADS,
    gain: int = 1000,
    comments: Sequence[str] = (),
    n: int | None = None,
) -> Path:
    """``values`` ``(C, L)`` millivolts as a record in format 16; ``path`` is its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = np.where(np.isnan(values), -32768, np.rint(values * gain))
    path.with_suffix(".dat").write_bytes(known.T.astype("<i2").tobytes())
    samples = values.shape[1] if n is None else n
    lines = [f"{path.stem} {len(values)} {rate:g} {samples}"]
    lines += [f"{path.stem}.dat 16 {gain}/mV 16 0 0 0 0 {name}" for name in leads]
    path.write_text("\n".join([*lines, *(f"# {text}" for text in comments)]) + "\n")
    return path


def write_table(path: Path, values: NDArray[np.floating], *, leads: Sequence[str] = LEADS,
                rate: float | None = 500, head: str = "") -> Path:  # fmt: skip
    """The same as a CSV with a column of times, where a rate is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [] if rate is None else ["time"]
    rows = [",".join([*times, *leads])]
    for number, sample in enumerate(values.T):
        at = [] if rate is None else [f"{number / rate:.6f}"]
        rows.append(",".join([*at, *("" if np.isnan(v) else f"{v:.4f}" for v in sample)]))
    path.write_text(head + "\n".join(rows) + "\n")
    return path


def write_ecgs(folder: Path, kinds: Sequence[str], each: int, *, first: int = 0) -> Path:
    """Synthetic ECGs of ten seconds: a folder for each class, records and tables in turn."""
    for kind in kinds:
        for number in range(first, first + each):
            made = synthetic_recording(kind, number, seed=77, rate=250)
            name = kind.replace(" ", "-")
            if number % 2:
                write_table(folder / name / f"{number:03}.csv", made.values, rate=250)
            else:
                write_record(folder / name / f"{number:03}.hea", made.values, rate=250)
    return folder
