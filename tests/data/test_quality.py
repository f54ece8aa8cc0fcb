"""Images made worse: by how much, for whom, and the same way each time."""

from __future__ import annotations

import numpy as np
import pytest

from medmeta.data.quality import FAULTS, SEVERITIES, faults_for, spoilt

RANDOM = np.random.default_rng(0)
BLOBS = np.zeros((4, 1, 64, 64), np.uint8)
for place in RANDOM.integers(8, 56, (40, 2)):
    BLOBS[:, 0, place[0] - 3 : place[0] + 3, place[1] - 3 : place[1] + 3] = RANDOM.integers(60, 200)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_severity_changes_more_than_the_one_before(fault: str, channels: int) -> None:
    pixels = BLOBS.repeat(channels, 1)
    before = pixels.copy()
    gaps = []
    for severity in SEVERITIES:
        made = spoilt(pixels, fault, severity, 5)
        assert made.shape == pixels.shape
        assert made.dtype == np.uint8
        gaps.append(float(np.abs(made.astype(float) - pixels).mean()))
    assert np.array_equal(pixels, before)
    assert gaps == sorted(gaps)
    assert gaps[0] > 0


@pytest.mark.parametrize("fault", FAULTS)
def test_chance_belongs_to_the_image_and_the_seed(fault: str) -> None:
    whole, one = spoilt(BLOBS, fault, 3, 1), spoilt(BLOBS[:2], fault, 3, 1)
    assert np.array_equal(whole[:2], one)
    assert np.array_equal(whole, spoilt(BLOBS, fault, 3, 1))


def test_grey_stays_grey() -> None:
    for fault in FAULTS:
        made = spoilt(BLOBS.repeat(3, 1), fault, 4, 2)
        assert int(np.abs(made[:, :1].astype(int) - made).max()) <= 1, fault


def test_noise_has_the_spread_that_it_says() -> None:
    grey = np.full((1, 1, 256, 256), 128, np.uint8)
    found = spoilt(grey, "noise", 2, 0).astype(float).std()
    assert found == pytest.approx(0.04 * 255, rel=0.03)


def test_who_has_which_faults() -> None:
    assert "bias_field" in faults_for("MR")
    assert "bias_field" not in faults_for("CT")
    assert set(faults_for(None)) == set(FAULTS) - {"bias_field"}
