"""Volumes with masks as sources: whole, and in patches around what is marked."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medmeta.data.mask_patches import patch_places
from medmeta.data.mask_sources import open_mask_source
from medmeta.data.preprocess import Preprocessing
from medmeta.errors import DataError
from tests.data.masked_volumes import AFFINE, write_volumes

PATCHES = Preprocessing(size=16, depth=8, channels=1, patches=4)


def test_patches_lie_around_what_is_marked_and_one_of_four_beside_it(tmp_path: Path) -> None:
    write_volumes(tmp_path, n=2)
    source = open_mask_source(tmp_path, preprocessing=PATCHES)
    assert source.pixels.shape == (8, 1, 8, 16, 16)
    masks = source.gather_masks(np.arange(8))
    assert masks.shape == (8, 8, 16, 16)
    for first in (0, 4):
        assert all((masks[first + k] == 1).any() for k in range(3))
        assert (masks[first + 3] == 1).sum() <= (masks[first : first + 3] == 1).sum((1, 2, 3)).min()
    # What is marked is what is bright, in every patch.
    assert source.pixels[:, 0][masks == 1].min() > source.pixels[:, 0][masks == 0].max()
    assert len(set(source.groups.tolist())) == source.n_volumes == 2
    assert source.groups.tolist() == [source.groups[0]] * 4 + [source.groups[4]] * 4
    again = open_mask_source(tmp_path, preprocessing=PATCHES)
    np.testing.assert_array_equal(source.pixels, again.pixels)


def test_the_first_patch_of_a_structure_has_its_middle_in_the_middle() -> None:
    marked = np.zeros((20, 40, 40), dtype=np.uint8)
    marked[8:13, 18:23, 20:25] = 1
    marked[2:4, 2:6, 30:34] = 2
    random = np.random.default_rng(0)
    places = patch_places(np.zeros_like(marked), marked, (8, 16, 16), 4, random)
    assert places[0] == (10 - 4, 20 - 8, 22 - 8)
    assert places[1][0] == 0
    beside = marked[places[3][0] :, places[3][1] :, places[3][2] :][:8, :16, :16]
    assert not beside.any()


def test_volumes_smaller_than_a_patch_are_filled_up_with_what_nobody_labelled(
    tmp_path: Path,
) -> None:
    write_volumes(tmp_path, n=1)
    large = Preprocessing(size=32, depth=32, channels=3, patches=1)
    source = open_mask_source(tmp_path, preprocessing=large)
    (mask,) = source.gather_masks(np.arange(1))
    shown = (24, 28, 26) if mask[23, 27, 25] != 255 else (24, 26, 28)
    assert (mask != 255).sum() == np.prod(shown)
    assert source.pixels.shape == (1, 3, 32, 32, 32)


def test_volumes_are_taken_whole(tmp_path: Path) -> None:
    write_volumes(tmp_path, n=2)
    whole = Preprocessing(size=16, depth=12, channels=1, fit="stretch")
    source = open_mask_source(tmp_path, preprocessing=whole, cache=tmp_path / "cache")
    assert source.pixels.shape == (2, 1, 12, 16, 16)
    masks = source.gather_masks(np.arange(2))
    inside = source.pixels[:, 0][masks == 1].mean()
    assert inside > source.pixels[:, 0][masks == 0].mean() + 100


def test_voxels_of_several_sizes_are_refused_unless_told(tmp_path: Path) -> None:
    write_volumes(tmp_path, n=2)
    for name in ("images", "masks"):
        path = tmp_path / name / "v1.nii.gz"
        volume = np.asarray(nibabel.load(path).dataobj)
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE * [[2], [2], [2], [1]]), path)
    with pytest.raises(DataError, match="voxels of different sizes"):
        open_mask_source(tmp_path, preprocessing=PATCHES)
    at_three = PATCHES.model_copy(update={"spacing": "3"})
    source = open_mask_source(tmp_path, preprocessing=at_three)
    masks = source.gather_masks(np.arange(8))
    small, large = ((masks[at : at + 4] == 1).sum((1, 2, 3)).max() for at in (0, 4))
    assert large > small  # twice as large in mm is twice as large


def test_pictures_are_refused_where_volumes_are_asked_for(tmp_path: Path) -> None:
    write_volumes(tmp_path, n=1)
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "images" / "p.png")
    Image.fromarray(np.ones((20, 20), np.uint8)).save(tmp_path / "masks" / "p.png")
    with pytest.raises(DataError, match="is of no volume"):
        open_mask_source(tmp_path, preprocessing=PATCHES)
    assert len(open_mask_source(tmp_path, preprocessing=PATCHES, skip_bad=True)) == 4


def test_made_up_anatomies_are_a_source_by_name() -> None:
    whole = Preprocessing(size=16, depth=16, channels=1)
    source = open_mask_source(Path("synthetic:structures:2:5"), preprocessing=whole)
    assert source.pixels.shape == (16, 1, 16, 16, 16)
    again = open_mask_source(Path("synthetic:structures:2:5"), preprocessing=whole)
    other = open_mask_source(Path("synthetic:structures:2:6"), preprocessing=whole)
    np.testing.assert_array_equal(source.pixels, again.pixels)
    assert not np.array_equal(source.pixels, other.pixels)
    flat = open_mask_source(Path("synthetic:structures:2"), preprocessing=Preprocessing(size=16))
    assert flat.pixels.shape == (16, 3, 16, 16)
    with pytest.raises(DataError, match="there is synthetic:structures"):
        open_mask_source(Path("synthetic:liver"), preprocessing=whole)
