"""Volumes marked block by block: by a predictor whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medmeta.app.mask_predictor import MaskAnswer
from medmeta.app.volume_answers import mark_volume
from medmeta.data.preprocess import Preprocessing
from medmeta.data.scan import Scan
from medmeta.data.volume_grid import grid_of, restored_slices


class Bright:
    """Says that what is bright is marked, by how bright it is; and counts what it is shown."""

    structures = ("bright",)

    def __init__(self, **options: Any) -> None:
        self.preprocessing = Preprocessing(size=16, channels=1, **options)
        self.card = {"support": {"voxels_mm": None}}
        self.shapes: list[tuple[int, ...]] = []

    def answer(self, pixels: NDArray[np.uint8], *, uncertainty: bool = False) -> MaskAnswer:
        self.shapes.append(pixels.shape)
        bright = pixels[:, :1].astype(np.float32) / 255
        probabilities = np.concatenate([1 - bright, bright], axis=1)
        if not uncertainty:
            return MaskAnswer(probabilities)
        expected = np.full((len(pixels), 1), 0.5)
        return MaskAnswer(probabilities, bright[:, 0] / 2, expected, expected)


def scan(n: int) -> Scan:
    return Scan("dicom", "v", (Path("v"),), n, (0, 0), spacing=(2.0, 1.0, 1.0))


@pytest.mark.parametrize("shape", [(30, 41, 33), (8, 16, 16), (5, 20, 9)])
def test_blended_blocks_say_what_each_block_says(shape: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    predictor: Any = Bright(depth=8, patches=2)
    found = mark_volume(predictor, scan(shape[0]), list(volume), uncertainty=True)
    np.testing.assert_array_equal(found.mask, volume > 127)
    assert found.uncertainty is not None
    np.testing.assert_allclose(found.uncertainty, volume / 510, atol=1e-5)
    assert found.confidence[0] == pytest.approx((volume[volume > 127] / 255).mean(), abs=1e-5)
    assert found.expected_dice == pytest.approx([0.5])
    assert {one[1:] for one in predictor.shapes} == {(1, 8, 16, 16)}


def test_at_another_spacing_a_box_comes_back() -> None:
    volume = np.zeros((20, 40, 40), dtype=np.uint8)
    volume[6:14, 10:30, 12:28] = 255
    predictor: Any = Bright(depth=8, patches=2, spacing="2")
    found = mark_volume(predictor, scan(20), list(volume), uncertainty=False)
    assert found.uncertainty is None
    assert found.expected_dice is None
    wanted = volume > 0
    assert 2 * ((found.mask == 1) & wanted).sum() / ((found.mask == 1).sum() + wanted.sum()) > 0.9


def test_where_nothing_is_marked_there_is_no_confidence() -> None:
    predictor: Any = Bright(depth=8, patches=1)
    found = mark_volume(predictor, scan(8), [np.zeros((16, 16), np.uint8)] * 8, uncertainty=True)
    assert not found.mask.any()
    assert np.isnan(found.confidence).all()


def test_no_more_planes_are_asked_for_than_a_slice_needs() -> None:
    options = Preprocessing(size=16, depth=8, channels=1, patches=1)
    grid = grid_of(None, (50, 16, 16), options)
    given = []

    def planes() -> Any:
        for number in range(50):
            given.append(number)
            yield np.full((2, 16, 16), 0.5, dtype=np.float32)

    slices = restored_slices(planes(), grid)
    next(slices)
    assert len(given) <= 2
    for _ in range(9):
        next(slices)
    assert len(given) <= 11


def test_a_whole_volume_is_asked_about_once() -> None:
    """The whole volume is one input where there are no blocks."""
    predictor: Any = Bright(depth=8)
    volume = np.zeros((16, 32, 32), dtype=np.uint8)
    volume[4:12, 8:24, 8:24] = 255
    found = mark_volume(predictor, scan(16), list(volume), uncertainty=False)
    assert predictor.shapes == [(1, 1, 8, 16, 16)]
    assert ((found.mask == 1) == (volume > 0)).mean() > 0.95
