"""Seeded synthetic ECGs as a source: ``synthetic:ecg`` in place of a path.

For tests, for documentation, and for learning where no ECG may be had. No figure measured on it
says anything about patients.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medmeta.data._chance import chance_of
from medmeta.data._draw_ecg import KINDS, draw
from medmeta.data.preprocess import Preprocessing
from medmeta.data.recording import STANDARD_LEADS, Recording
from medmeta.data.signal_shape import prepare_signal
from medmeta.data.source import Source
from medmeta.errors import DataError, SettingsError, UnreadableImageError

ECG_CLASSES = tuple(KINDS)
"""Names of the classes of synthetic ECGs: rhythms and morphologies."""

_NAMED = re.compile(r"synthetic:ecg(:(?P<seed>\d{1,9}))?")
_OF_A_PATIENT = 2
_EACH = 24


def is_synthetic(path: Path) -> bool:
    """Whether a path names a source that is drawn, not read.

    >>> is_synthetic(Path("synthetic:ecg:3")), is_synthetic(Path("ecg"))
    (True, False)
    """
    return str(path).startswith("synthetic:") and not path.exists()


def synthetic_source(path: Path, preprocessing: Preprocessing) -> Source:
    """The source that ``synthetic:ecg`` names, or ``synthetic:ecg:7`` with a seed of its own.

    Raises ``DataError`` for another name, and where pictures are asked for.
    """
    found = _NAMED.fullmatch(str(path))
    if found is None:
        raise DataError(f"{path}: there is no such source; there is synthetic:ecg.")
    if not preprocessing.samples:
        raise DataError(f"{path}: holds signals; say how many --samples each should have (1000).")
    return synthetic_ecgs(preprocessing, seed=int(found["seed"] or 0))


def synthetic_recording(
    kind: str, number: int, *, seed: int = 0, seconds: float = 10.0, rate: float = 500.0
) -> Recording:
    """One synthetic 12-lead ECG of a class, in millivolts.

    It depends on the seed, its class, its number and its length alone; two numbers make a patient.

    >>> synthetic_recording("atrial flutter", 0).values.shape
    (12, 5000)
    """
    if kind not in KINDS:
        raise SettingsError(f"{kind!r} is no class of synthetic ECGs: {', '.join(ECG_CLASSES)}.")
    body = chance_of(seed, "ECG", kind, "patient", number // _OF_A_PATIENT)
    scene = chance_of(seed, "ECG", kind, "scene", number)
    values = draw(kind, body, scene, seconds=seconds, rate=rate)
    return Recording(STANDARD_LEADS, rate, values)


def synthetic_ecgs(
    preprocessing: Preprocessing,
    *,
    each: int = _EACH,
    seed: int = 0,
    classes: Sequence[str] = ECG_CLASSES,
) -> Source:
    """``each`` recordings of every class, as long as is asked for, prepared as others are."""
    if not preprocessing.samples or each < 1:
        raise SettingsError("synthetic ECGs: ask for 1 or more of each class, and for samples.")
    rate = preprocessing.rate
    seconds = preprocessing.samples / rate
    signals, labels, patients = [], [], []
    for kind in classes:
        for number in range(each):
            made = synthetic_recording(kind, number, seed=seed, seconds=seconds, rate=rate)
            try:
                signals.append(prepare_signal(made, preprocessing))
            except UnreadableImageError as error:
                raise DataError(f"synthetic:ecg: {error}") from None
            labels.append(kind)
            patients.append(f"ecg-{kind}-p{number // _OF_A_PATIENT:04d}")
    return Source.from_arrays(
        "synthetic-ecg", np.stack(signals), labels, patients=patients, modality="ECG"
    )
