from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medmeta.data.ecg_picture import draw_twelve_leads
from medmeta.data.recording import STANDARD_LEADS, Recording
from medmeta.errors import UnreadableImageError

SCALE = 10  # pixels of a millimetre


def ink(recording: Recording) -> NDArray[np.bool_]:
    """Where a picture is drawn on, without names and grid."""
    return draw_twelve_leads(recording, scale=SCALE).max(axis=2) < 100


def recording(rhythm: NDArray[np.float64], rate: float = 500) -> Recording:
    values = np.zeros((12, len(rhythm)), np.float32)
    values[1] = rhythm  # lead II
    return Recording(STANDARD_LEADS, rate, values)


def strip(recording: Recording) -> NDArray[np.bool_]:
    """The rhythm strip, beyond the calibration: from 15 mm on, its baseline 110 mm down."""
    return ink(recording)[100 * SCALE : 125 * SCALE, 15 * SCALE : 265 * SCALE]


def test_ten_seconds_are_250_mm_in_four_rows() -> None:
    picture = draw_twelve_leads(recording(np.zeros(5000)), scale=4)
    assert picture.shape == (135 * 4, 270 * 4, 3)
    assert picture.dtype == np.uint8


def test_25_mm_are_a_second() -> None:
    rhythm = np.zeros(5000)
    rhythm[[1000, 3000]] = 1.0  # at 2 s and 6 s
    high = strip(recording(rhythm))[: 4 * SCALE]  # above 0.6 mV, where nothing else is
    columns = np.flatnonzero(high.any(axis=0))
    first, last = columns[columns < 1000], columns[columns > 1000]
    assert first.mean() / SCALE == pytest.approx(50, abs=0.3)
    assert last.mean() / SCALE == pytest.approx(150, abs=0.3)


def test_10_mm_are_a_millivolt_and_so_is_the_calibration() -> None:
    rhythm = np.zeros(5000)
    rhythm[2000:3000] = 0.5
    part = strip(recording(rhythm))
    level = np.flatnonzero(part[:, 110 * SCALE]).mean() / SCALE
    base = np.flatnonzero(part[:, 200 * SCALE]).mean() / SCALE
    assert base - level == pytest.approx(5, abs=0.15)
    calibration = ink(recording(rhythm))[90 * SCALE : 120 * SCALE, 5 * SCALE : 14 * SCALE]
    rows = np.flatnonzero(calibration.sum(axis=1) > SCALE)
    assert (rows.max() - rows.min()) / SCALE == pytest.approx(10, abs=0.5)


def test_limb_leads_that_are_missing_are_worked_out() -> None:
    random = np.random.default_rng(0)
    one, two, *chest = random.normal(0, 0.2, (8, 1000)).astype(np.float32)
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    whole = Recording(STANDARD_LEADS, 100, np.stack([*limbs, *chest]))
    names = ("I", "II", *STANDARD_LEADS[6:])
    part = Recording(names, 100, np.stack([one, two, *chest]))
    differ = draw_twelve_leads(whole) != draw_twelve_leads(part)
    assert differ.mean() < 1e-3  # single precision may move a pixel


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UnreadableImageError, match="no lead V1"):
        draw_twelve_leads(Recording(("I", "II"), 100, np.zeros((2, 1000), np.float32)))
    with pytest.raises(UnreadableImageError, match="too short"):
        draw_twelve_leads(Recording(STANDARD_LEADS, 100, np.zeros((12, 1), np.float32)))
    unknown = np.full((12, 500), np.nan, np.float32)
    draw_twelve_leads(Recording(STANDARD_LEADS, 100, unknown))  # an empty paper
