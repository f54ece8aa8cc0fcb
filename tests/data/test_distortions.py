"""Faults of images: graded, repeatable, and each what its name says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medmeta.data.distortions import _ALL, APPLY, SEVERITIES, Distortion, distortions_of
from medmeta.data.index import Column
from medmeta.data.modality_kinds import common_kind, kind_of

BY_NAME = {distortion.name: distortion for distortion in _ALL}


def picture(channels: int = 1) -> NDArray[np.uint8]:
    """Smooth structure in the middle of the grey range."""
    noise = np.random.default_rng(0).normal(0, 1, (channels, 64, 64))
    smooth = gaussian_filter(noise, (0, 4, 4)) * 600 + 128
    return smooth.clip(20, 235).astype(np.uint8)


@pytest.mark.parametrize("distortion", _ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_fault_is_graded_repeatable_and_keeps_the_shape(
    distortion: Distortion, channels: int
) -> None:
    clean, gaps = picture(channels), []
    for severity in range(1, SEVERITIES + 1):
        worse = distortion.at(severity)(clean, 7)
        assert worse.shape == clean.shape
        assert worse.dtype == np.uint8
        np.testing.assert_array_equal(worse, distortion.at(severity)(clean, 7))
        gaps.append(np.abs(worse.astype(float) - clean).mean())
    assert gaps[0] > 0
    assert gaps == sorted(gaps)


@pytest.mark.parametrize("distortion", _ALL, ids=lambda d: d.name)
def test_grey_stays_grey_in_three_channels(distortion: Distortion) -> None:
    grey = np.repeat(picture(), 3, 0)
    worse = distortion.at(3)(grey, 1)
    assert (worse == worse[:1]).all()


def test_noise_has_the_standard_deviation_it_names() -> None:
    flat = np.full((1, 200, 200), 128, np.uint8)
    for severity, level in enumerate(BY_NAME["noise"].levels[:3], start=1):
        worse = BY_NAME["noise"].at(severity)(flat, 3)
        assert worse.std() / 255 == pytest.approx(level, rel=0.05)


def test_blur_is_a_gaussian_of_a_share_of_the_side() -> None:
    point = np.zeros((1, 101, 101), np.uint8)
    point[0, 50, 50] = 255
    point[0, 40:61, 40:61] = 255
    blurred = BY_NAME["blur"].at(2)(point, 0)
    expected = gaussian_filter(point[0] / 255, 0.02 * 101, mode="nearest")
    np.testing.assert_allclose(blurred[0] / 255, expected, atol=1 / 255)


def test_contrast_shrinks_about_the_mean() -> None:
    clean = picture()
    worse = BY_NAME["contrast"].at(3)(clean, 0).astype(float)
    np.testing.assert_allclose(worse.std(), 0.5 * clean.std(), rtol=0.02)
    np.testing.assert_allclose(worse.mean(), clean.mean(), atol=0.5)


def test_exposure_is_a_gamma_to_either_side() -> None:
    flat = np.full((1, 8, 8), 100, np.uint8)
    found = {int(BY_NAME["exposure"].at(3)(flat, seed)[0, 0, 0]) for seed in range(20)}
    assert found == {round(255 * (100 / 255) ** np.exp(s * 0.5)) for s in (-1, 1)}


def test_a_ghost_is_a_fainter_copy_along_the_rows() -> None:
    dark = np.zeros((1, 64, 64), np.uint8)
    dark[0, 5] = 200
    rows = BY_NAME["ghosts"].at(5)(dark, 1)[0].max(1)
    assert sorted(rows.nonzero()[0]) == [5, *[r for r in rows.nonzero()[0] if r != 5]]
    assert len(rows.nonzero()[0]) == 2
    assert rows.max() == round(200 / 1.3)
    assert sorted(rows)[-2] == round(200 * 0.6 / 1.3)


def test_the_gain_of_a_bias_field_stays_within_its_bound() -> None:
    flat = np.full((1, 64, 64), 60, np.uint8)
    gain = BY_NAME["bias field"].at(4)(flat, 2)[0] / 60
    largest = np.abs(np.log(gain)).max()
    assert largest == pytest.approx(0.9, abs=0.02)


def test_ct_has_no_exposure_and_only_mri_has_a_bias_field() -> None:
    assert not {"exposure", "contrast", "bias field"} & set(APPLY["CT"])
    assert [kind for kind, names in APPLY.items() if "bias field" in names] == ["MRI"]
    for kind in APPLY:
        assert distortions_of(kind)


def test_modalities_are_known_however_they_are_written() -> None:
    assert kind_of("DX") == kind_of("x-ray") == kind_of("Chest X-ray") == "x-ray"
    assert kind_of("mr") == kind_of("MRI") == "MRI"
    assert kind_of(None) == kind_of("") == kind_of("thermography") == "unknown"
    assert common_kind(Column.from_texts(["CT", "ct"])) == "CT"
    assert common_kind(Column.from_texts(["CT", "MR"])) == "unknown"
    assert common_kind(Column.from_texts(["CT", None])) == "unknown"
