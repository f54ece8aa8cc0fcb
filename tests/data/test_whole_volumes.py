"""Volumes that are learned whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medmeta.data.preprocess import Preprocessing, as_pictures
from medmeta.data.sources import open_source
from medmeta.errors import DataError, UnreadableImageError

nibabel = pytest.importorskip("nibabel")
WHOLE = Preprocessing(size=16, channels=1, depth=6, window="127.5,255")


def _save(path: Path, values: NDArray[np.uint8], steps: tuple[float, ...] = (1, 1, 2)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*steps, 1.0])), path)


def _stairs(depth: int) -> NDArray[np.uint8]:
    """Each axial slice of one grey level, 20 more than the one below it."""
    levels = (10 + 20 * np.arange(depth)).astype(np.uint8)
    return np.broadcast_to(levels, (16, 16, depth)).copy()


def test_a_volume_is_one_row_of_all_its_slices(tmp_path: Path) -> None:
    _save(tmp_path / "src" / "a" / "1.nii.gz", _stairs(12))
    _save(tmp_path / "src" / "b" / "2.nii.gz", _stairs(6))
    source = open_source(tmp_path / "src", preprocessing=WHOLE, cache=tmp_path / "cache")
    assert source.pixels.shape == (2, 1, 6, 16, 16)
    found = source.gather(np.arange(2))[:, 0, :, 8, 8].astype(int)
    # Of twelve slices every second one, of six all; by nibabel's own values.
    values = [np.asarray(nibabel.load(p).dataobj)[8, 8] for p in source.index.paths]
    np.testing.assert_allclose(found, [values[0][1::2], values[1]], atol=1)


def test_an_npz_of_volumes_is_taken_whole(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (6, 8, 16, 16), dtype=np.uint8)
    labels = np.array([[0], [1], [0], [1], [0], [1]])
    np.savez(tmp_path / "cubes.npz", train_images=images, train_labels=labels)
    whole = WHOLE.model_copy(update={"depth": 8})
    source = open_source(tmp_path / "cubes.npz", preprocessing=whole, cache=tmp_path / "cache")
    np.testing.assert_array_equal(source.gather(np.arange(6))[:, 0], images)
    fewer = WHOLE.model_copy(update={"depth": 4})
    source = open_source(tmp_path / "cubes.npz", preprocessing=fewer, cache=tmp_path / "cache")
    np.testing.assert_array_equal(source.gather(np.arange(6))[:, 0], images[:, 1::2])


def test_equal_volumes_are_one_and_others_are_not(tmp_path: Path) -> None:
    for name, depth in (("a/1", 6), ("a/2", 6), ("b/3", 12)):
        _save(tmp_path / "src" / f"{name}.nii.gz", _stairs(depth))
    source = open_source(tmp_path / "src", preprocessing=WHOLE, cache=tmp_path / "cache")
    first, second, third = source.hashes.tolist()
    assert first == second != third


def test_mixed_voxels_are_refused_unless_told(tmp_path: Path) -> None:
    _save(tmp_path / "src" / "a" / "1.nii.gz", _stairs(6), (1, 1, 2))
    _save(tmp_path / "src" / "b" / "2.nii.gz", _stairs(6), (1, 1, 5))
    with pytest.raises(DataError, match=r"2 to 5 mm between slices.*--spacing any"):
        open_source(tmp_path / "src", preprocessing=WHOLE, cache=tmp_path / "cache")
    told = WHOLE.model_copy(update={"spacing": "any"})
    assert len(open_source(tmp_path / "src", preprocessing=told, cache=tmp_path / "cache")) == 2


def test_a_picture_is_no_volume(tmp_path: Path) -> None:
    from PIL import Image

    _save(tmp_path / "src" / "a" / "1.nii.gz", _stairs(6))
    (tmp_path / "src" / "b").mkdir()
    Image.new("L", (16, 16), 9).save(tmp_path / "src" / "b" / "2.png")
    with pytest.raises(UnreadableImageError, match="is a picture, and whole volumes are asked for"):
        open_source(tmp_path / "src", preprocessing=WHOLE, cache=tmp_path / "cache")


def test_people_are_shown_the_middle_slice() -> None:
    volume = np.arange(5, dtype=np.uint8)[None, None, :, None, None]
    assert as_pictures(volume).tolist() == [[[[2]]]]
