"""Volumes and modalities brought to another grid."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from medmeta.data.medical import find_scans, read_slices, slices_of
from medmeta.data.preprocess import Preprocessing
from medmeta.data.resampled import on_grid_of
from medmeta.data.scan import Scan
from medmeta.data.sources import open_source
from medmeta.data.whole_volumes import read_whole
from medmeta.errors import DataError, ManifestError, UnreadableImageError

nibabel = pytest.importorskip("nibabel", reason="the extra nifti")
WINDOW = "128,256"
TURNED = np.array([[0, -1.5, 0, 20], [1.0, 0, 0, -2], [0, 0, 3, -5], [0, 0, 0, 1]])
OBLIQUE = np.array([[0.9, 0.2, 0, -3], [-0.2, 0.9, 0, 1], [0, 0, -2, 30.3], [0, 0, 0, 1]])


def saved(path: Path, values: np.ndarray, affine: np.ndarray) -> Scan:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    (scan,), _ = find_scans([path], root=path.parent)
    return scan


def smooth(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """A field that bends slowly, sampled where an affine puts the voxels."""
    x, y, z = (
        affine[i, :3] @ np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
        + affine[i, 3]
        for i in range(3)
    )
    return (120 + 40 * np.sin(x / 9) + 30 * np.cos(y / 7) + z).reshape(shape).astype(np.float32)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("order", ["linear", "nearest"])
def test_another_grid_is_met_as_nibabel_meets_it(tmp_path: Path, plane: str, order: str) -> None:
    processing = pytest.importorskip("nibabel.processing")
    first = saved(tmp_path / "first.nii", smooth((18, 20, 12), TURNED), TURNED)
    other = saved(tmp_path / "other.nii", smooth((30, 24, 16), OBLIQUE), OBLIQUE)
    whole = {"linear": 1, "nearest": 0}[order]
    names = ("other.nii", "first.nii")
    images = [nibabel.load(tmp_path / name) for name in names]
    shape = Preprocessing(
        size=16, window=WINDOW, plane=plane, modalities="a,b", resample=order, channels=1
    )
    numbers = range(slices_of(first, shape))
    told = {}
    for mode in ("constant", "nearest"):
        wanted = processing.resample_from_to(*images, order=whole, mode=mode)
        expected = saved(tmp_path / f"{mode}.nii", np.asarray(wanted.dataobj), TURNED)
        told[mode] = np.stack(read_slices(expected, numbers, shape)).astype(float)
    found = np.stack(on_grid_of(first, other, numbers, shape)).astype(float)
    assert found.shape == told["constant"].shape
    seen = told["constant"] > 0  # between the middles of the outermost voxels
    assert seen.mean() > 0.2
    # Levels of grey are rounded before and after.
    assert np.abs(found - told["constant"])[seen].max() <= 1
    # Half a voxel further out it is the outermost voxel's, and beyond that black.
    assert ((np.abs(found - told["nearest"]) <= 1) | (found == 0)).all()


@pytest.mark.parametrize("apart", [0.0, 2e-5])
def test_the_same_grid_changes_nothing(tmp_path: Path, apart: float) -> None:
    """Rounding, or affines that differ by less than matters, blacken no edge."""
    values = np.random.default_rng(0).integers(130, 250, (10, 14, 12)).astype(np.int16)
    moved = OBLIQUE.copy()
    moved[:3, 3] += apart
    first = saved(tmp_path / "first.nii", values, OBLIQUE)
    other = saved(tmp_path / "other.nii", values, moved)
    shape = Preprocessing(size=16, window=WINDOW, modalities="a,b", resample="linear", channels=1)
    numbers = range(slices_of(first, shape))
    found = np.stack(on_grid_of(first, other, numbers, shape)).astype(float)
    told = np.stack(read_slices(first, numbers, shape)).astype(float)
    assert np.abs(found - told).max() <= 1


def test_modalities_on_other_grids_become_channels_when_told(tmp_path: Path) -> None:
    small, large = np.diag([2.0, 2, 2, 1]), np.eye(4)
    field = {"t1": smooth((16, 16, 8), small), "flair": smooth((32, 32, 16), large)}
    saved(tmp_path / "t1.nii", field["t1"], small)
    saved(tmp_path / "flair.nii", field["flair"], large)
    with (tmp_path / "p.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["t1", "flair", "label"], ["t1.nii", "flair.nii", "a"]])
    shape = {"size": 16, "channels": 1, "modalities": "t1,flair", "window": WINDOW}
    with pytest.raises(ManifestError, match=r"different grids .*--resample linear"):
        open_source(tmp_path / "p.csv", preprocessing=Preprocessing(**shape), cache=tmp_path)
    for more in ({}, {"depth": 8}):
        told = Preprocessing(**shape, **more, resample="linear")
        source = open_source(tmp_path / "p.csv", preprocessing=told, cache=tmp_path / "cache")
        first, second = source.gather(np.arange(1))[0].astype(int)
        assert np.abs(first - second).max() <= 1  # the same field, seen through two grids


def test_a_modality_beside_the_first_is_refused(tmp_path: Path) -> None:
    far = np.eye(4)
    far[0, 3] = 500
    first = saved(tmp_path / "a.nii", smooth((16, 16, 8), np.eye(4)), np.eye(4))
    other = saved(tmp_path / "b.nii", smooth((16, 16, 8), np.eye(4)), far)
    shape = Preprocessing(size=16, modalities="a,b", resample="linear")
    with pytest.raises(UnreadableImageError, match="register them first"):
        on_grid_of(first, other, [0, 1], shape)


def ball(path: Path, step: tuple[float, float, float], radius: float = 8) -> Scan:
    sides = [round(40 / s) for s in step]
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(sides, step, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    inside = x**2 + y**2 + z**2 <= radius**2
    return saved(path, (200 * inside).astype(np.int16), np.diag([*step, 1.0]))


def test_volumes_are_brought_to_one_size_of_voxels(tmp_path: Path) -> None:
    told = Preprocessing(size=16, depth=16, channels=1, spacing="2", window=WINDOW)
    assert told.spacing == "2"
    volume = 4 / 3 * np.pi * 8**3 / 2**3  # voxels of 2 mm
    for number, step in enumerate([(1.0, 1.0, 1.0), (1.0, 1.0, 4.0), (0.5, 2.0, 2.5)]):
        found = read_whole(ball(tmp_path / f"{number}.nii", step), told)
        assert found.shape == (1, 16, 16, 16)
        assert found.astype(float).sum() / (200 * 255 / 256) == pytest.approx(volume, rel=0.06)
        middle = found[0].astype(float)
        for axis in range(3):
            line = middle.sum(tuple(a for a in range(3) if a != axis))
            assert line @ np.arange(16) / line.sum() == pytest.approx(7.5, abs=0.01)


def test_voxels_of_the_right_size_stay_as_they_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (16, 16, 16)).astype(np.int16)
    scan = saved(tmp_path / "v.nii", values, np.diag([1.5, 1.5, 1.5, 1]))
    shape = {"size": 16, "depth": 16, "channels": 1, "window": WINDOW}
    same = read_whole(scan, Preprocessing(**shape))
    np.testing.assert_array_equal(read_whole(scan, Preprocessing(**shape, spacing=1.5)), same)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"spacing": "0", "depth": 16}, "choose same, any, or millimetres"),
        ({"spacing": "wide", "depth": 16}, "choose same, any, or millimetres"),
        ({"spacing": "nan", "depth": 16}, "choose same, any, or millimetres"),
        ({"spacing": "2"}, "of whole volumes"),
        ({"resample": "linear"}, "of modalities"),
    ],
)
def test_what_cannot_be_asked_for(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Preprocessing(size=16, **given)


def test_a_size_cannot_be_met_where_none_is_known(tmp_path: Path) -> None:
    told = Preprocessing(size=16, depth=16, spacing="2")
    cubes = np.zeros((4, 16, 16, 16), np.uint8)
    labels = np.arange(4)[:, None] % 2
    np.savez(tmp_path / "c.npz", train_images=cubes, train_labels=labels)
    with pytest.raises(DataError, match="do not say how large their voxels are"):
        open_source(tmp_path / "c.npz", preprocessing=told, cache=tmp_path / "cache")
