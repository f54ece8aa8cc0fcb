"""Volumes on the grid that they are marked on, and back."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medmeta.data.medical import find_scans
from medmeta.data.preprocess import Preprocessing
from medmeta.data.scan import Scan
from medmeta.data.volume_grid import (
    VolumeGrid,
    grid_of,
    image_on_grid,
    mask_on_grid,
    restored_slices,
)
from medmeta.errors import UnreadableImageError


def scan_with(spacing: tuple[float | None, float | None, float | None]) -> Scan:
    return Scan("dicom", "v", (Path("a"),), 10, (12, 14), spacing=spacing)


def back(volume: np.ndarray, grid: VolumeGrid) -> np.ndarray:
    """A volume on the grid as probabilities, brought back."""
    values = volume.astype(np.float32)
    planes = (np.stack([1 - plane, plane]) for plane in values)
    return np.stack([found[1] for found in restored_slices(planes, grid)])


def options(**changes: object) -> Preprocessing:
    given = {"size": 16, "depth": 8, "channels": 1, "patches": 2, **changes}
    return Preprocessing.model_validate(given)


def test_at_its_own_voxels_nothing_changes() -> None:
    random = np.random.default_rng(0)
    slices = [random.integers(0, 256, (12, 14)).astype(np.uint8) for _ in range(10)]
    grid = grid_of(None, (10, 12, 14), options())
    assert grid.as_it_is
    np.testing.assert_array_equal(image_on_grid(slices, grid, options()), np.stack(slices))
    mask = random.integers(0, 3, (10, 12, 14)).astype(np.uint8)
    np.testing.assert_array_equal(mask_on_grid(mask, grid, options()), mask)
    np.testing.assert_array_equal(back(mask == 1, grid), (mask == 1).astype(np.float32))


@pytest.mark.parametrize(("n", "depth"), [(40, 25), (25, 16), (17, 16), (33, 16)])
def test_a_mask_between_two_voxels_takes_each_once(n: int, depth: int) -> None:
    """At its own spacing but cut: no slice of the mask comes twice, none between is left out."""
    grid = grid_of(scan_with((1.0, 2.0, 2.0)), (n, 16, 16), Preprocessing(
        size=16, depth=depth, channels=1, spacing="1"))  # fmt: skip
    numbered = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None], (n, 16, 16))
    slices = mask_on_grid(np.ascontiguousarray(numbered), grid, options())[:, 8, 8].astype(int)
    assert np.diff(slices).tolist() == [1] * (depth - 1)


def test_a_spacing_brings_every_voxel_to_its_size() -> None:
    """Voxels of 4 by 2 by 1 mm at 2 mm: twice the slices, the same rows, half the columns."""
    grid = grid_of(scan_with((4.0, 2.0, 1.0)), (10, 12, 14), options(spacing="2"))
    assert grid.size == (20, 12, 7)
    ramp = np.broadcast_to(np.arange(14) * 10, (10, 12, 14)).astype(np.uint8)
    found = image_on_grid(list(ramp), grid, options(spacing="2"))
    np.testing.assert_allclose(found[5, 6, 1:-1], 5 + 20 * np.arange(1, 6), atol=1)
    # And it comes back: a line stays a line, but at the ends, where there is nothing between.
    planes = (np.stack([1 - p, p]) for p in (found / 255).astype(np.float32))
    again = np.stack([one[1] for one in restored_slices(planes, grid)]) * 255
    assert again.shape == (10, 12, 14)
    np.testing.assert_allclose(again[:, :, 2:-2], ramp[:, :, 2:-2], atol=1.5)


def test_resampling_is_scipys() -> None:
    """Voxels made smaller, where nothing is smoothed first."""
    random = np.random.default_rng(1)
    volume = random.integers(0, 256, (10, 12, 14)).astype(np.uint8)
    grid = grid_of(scan_with((3.0, 3.0, 3.0)), (10, 12, 14), options(spacing="2"))
    assert grid.there is not None
    places = np.stack(np.meshgrid(*grid.there, indexing="ij"))
    wanted = ndimage.map_coordinates(volume.astype(np.float32), places, order=1, mode="nearest")
    found = image_on_grid(list(volume), grid, options(spacing="2"))
    assert np.abs(found - wanted).max() <= 0.5 + 1e-3


def test_what_the_grid_does_not_reach_is_background() -> None:
    """Whole volumes at 1 mm: 8 of 10 slices and all of 12 rows are around the middle."""
    whole = options(spacing="1", patches=0)
    grid = grid_of(scan_with((1.0, 1.0, 1.0)), (10, 12, 20), whole)
    found = back(np.ones(grid.size), grid)
    assert found[1:9, :, 2:18].min() == 1
    assert found[0].max() == found[9].max() == 0
    assert found[:, :, :2].max() == found[:, :, 18:].max() == 0


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
def test_whole_volumes_come_back_from_their_slices(fit: str) -> None:
    """Of 32 slices 8 are taken; a box in the middle comes back as it was, but at its edges."""
    whole = options(patches=0, fit=fit)
    shown = (32, 32, 24)
    mask = np.zeros(shown, dtype=np.uint8)
    mask[8:24, 8:24, 6:18] = 1
    grid = grid_of(None, shown, whole)
    found = back(mask_on_grid(mask, grid, whole), grid) > 0.5
    assert found.shape == shown
    assert (found & (mask == 1)).sum() * 2 / (found.sum() + mask.sum()) > 0.85
    if fit == "crop":
        assert not found[:, :4].any()


def test_fewer_slices_than_are_asked_for_are_each_taken_again() -> None:
    whole = options(patches=0, depth=8)
    grid = grid_of(None, (4, 16, 16), whole)
    volume = np.repeat(np.arange(4), 2)[:, None, None] * np.ones((1, 16, 16)) / 4
    np.testing.assert_allclose(back(volume, grid)[:, 0, 0], np.arange(4) / 4, atol=1e-6)


def test_a_spacing_in_mm_asks_for_the_size_of_voxels() -> None:
    with pytest.raises(UnreadableImageError, match="how large its voxels are"):
        grid_of(scan_with((None, 1.0, 1.0)), (10, 12, 14), options(spacing="2"))


def test_a_spacing_too_fine_for_memory_is_refused() -> None:
    with pytest.raises(UnreadableImageError, match="choose a larger --spacing"):
        grid_of(scan_with((3.0, 1.0, 1.0)), (400, 512, 512), options(spacing="0.1"))


def test_structures_of_a_real_brain_survive_the_way_there_and_back(shared_data: Path) -> None:
    """TorchIO's label map at 1 mm, brought to 2 mm and back."""
    folder = shared_data / "nifti"
    scans, _ = find_scans([folder / "torchio_t1_seg_gif.nii.gz"], root=folder)
    labels = np.asarray(nibabel.load(scans[0].files[0]).dataobj)
    mask = np.isin(labels, (84, 85, 86)).astype(np.uint8).transpose(2, 0, 1)
    shown = (mask.shape[0], mask.shape[1], mask.shape[2])
    wanted = options(spacing="2")
    grid = grid_of(scan_with((1.0, 1.0, 1.0)), shown, wanted)
    found = back(mask_on_grid(mask, grid, wanted), grid) > 0.5
    assert 2 * (found & (mask > 0)).sum() / (found.sum() + int(mask.sum())) > 0.85
