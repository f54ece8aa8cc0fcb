"""What segmentation in three dimensions is measured on, and how a row is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import segmentation_3d
from medmeta import InputSpec
from medmeta.data.mask_sources import read_true_masks
from medmeta.data.preprocess import Preprocessing
from medmeta.learners import build_learner
from segmentation_3d import FLAT, TARGET, Blocks, Method, by_slices, in_space, measured, usable
from segmentation_3d_sources import SIDE, write_nifti


def task(n: int = 3) -> Blocks:
    """Bright balls in dark blocks."""
    random = np.random.default_rng(0)
    pixels = random.integers(20, 60, (n, SIDE, SIDE, SIDE))
    at = np.indices((SIDE,) * 3)
    masks = np.stack([((at - 10 - k) ** 2).sum(0) <= 36 for k in range(n)])
    return Blocks("balls", (pixels + 150 * masks).astype(np.uint8), masks.astype(np.uint8))


@pytest.mark.parametrize("shot", [1, 2])
def test_a_ball_is_found_in_space_and_slice_by_slice(shot: int) -> None:
    spec, flat = InputSpec(1, (SIDE,) * 3), InputSpec(3, (FLAT.size, FLAT.size))
    for mark in (
        in_space(build_learner("pixel_ridge", None, spec, TARGET).eval()),
        by_slices(build_learner("pixel_ridge", None, flat, TARGET).eval()),
    ):
        found = measured(Method("ridge", mark), [task()], shot)
        assert found["dice"] > 0.85
        assert found["tasks"] == 1
        assert found["low"] is None


def test_tasks_need_the_structure_in_every_volume() -> None:
    whole = task()
    assert usable(whole, 2)
    assert not usable(whole, 3)
    masks = whole.masks.copy()
    masks[1] = 0
    assert usable(Blocks("balls", whole.pixels, masks), 1)
    assert not usable(Blocks("balls", whole.pixels, masks), 2)


def test_volumes_are_written_as_they_are_read(tmp_path: Path) -> None:
    block = task(1)
    write_nifti(tmp_path, [(block.pixels[0], block.masks[0])])
    truth = read_true_masks(tmp_path, ["structure"], preprocessing=Preprocessing())
    np.testing.assert_array_equal(truth.masks[0], block.masks[0])


def test_the_table_has_a_row_for_each_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    page.write_text(f"{segmentation_3d.BEGIN}\n{segmentation_3d.END}\n")
    monkeypatch.setattr(segmentation_3d, "ROOT", tmp_path)
    row = {"learner": "ours", "set": "made", "shot": 1, "dice": 0.5, "low": 0.4, "high": 0.61,
           "tasks": 8, "seconds_each": 0.25}  # fmt: skip
    few = {**row, "learner": "theirs", "low": None, "tasks": 2, "dice": 0.7}
    segmentation_3d.write_table([row, few])
    text = page.read_text()
    assert "| ours | 50 [40, 61] | 0.2 |" in text
    assert "| theirs | 70 (2) | 0.2 |" in text
