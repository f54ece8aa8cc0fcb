"""Volumes learned and marked by a network over three axes: the commands and what they write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import generate_uid

from medmeta.app.held_out_masks import with_held_out
from medmeta.app.mask_predictor import Point
from medmeta.app.mask_workbench import load_mask_predictor
from medmeta.errors import SettingsError
from tests.app._typed import medmeta
from tests.data.dicom_files import FACING_UP, dicom
from tests.data.masked_volumes import AFFINE, balls, write_volumes

SMALL = ("--set", "width=4", "--set", "levels=2", "--shot", "1-2", "--query", "1",
         "--tasks-per-step", "2", "--steps", "2", "--validation", "none")  # fmt: skip
PATCHES = ("--depth", "16", "--size", "16", "--patches", "4", "--channels", "1")


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("volumes")
    write_volumes(root / "mine", n=3)
    write_volumes(root / "asked", n=2, seed=5)
    words = ("train", "--target", "masks", "--learner", "conditioned_unet", "--source",
             root / "mine", "--augment", "tasks")  # fmt: skip
    ended = medmeta(*words, *PATCHES, *SMALL, "--out", root / "run")
    assert ended.code == 0, ended
    words = ("adapt", root / "mine", "--model", root / "run", "--task", "segmentation")
    ended = medmeta(*words, "--out", root / "predictor")
    assert ended.code == 0, ended
    assert "12 patches of 3 volumes" in ended.out + ended.err
    return root


def test_a_ball_is_found_in_other_volumes_on_their_own_grid(place: Path, tmp_path: Path) -> None:
    images, out = place / "asked" / "images", tmp_path / "masks"
    words = ("predict", place / "predictor", images, "--in-mm", "--uncertainty", "--json")
    ended = medmeta(*words, "--out", out)
    assert ended.code == 0, ended
    told = ended.json()["images"]
    assert len(told) == 2
    for row, truth in zip(told, sorted((place / "asked" / "masks").iterdir()), strict=True):
        written, wanted = nibabel.load(out / row["mask"]), nibabel.load(truth)
        mask = np.asarray(written.dataobj)
        np.testing.assert_allclose(written.affine, AFFINE)
        assert mask.dtype == np.uint8
        assert dice(mask == 1, np.asarray(wanted.dataobj) == 1) > 0.85
        (structure,) = row["structures"]
        assert structure["size_mm"] == pytest.approx((mask == 1).sum() * 2 * 1.5 * 3)
        assert 0 < structure["expected_dice"] <= 1
    maps = sorted(out.glob("*-uncertainty.nii.gz"))
    assert len(maps) == 2
    unsure = nibabel.load(maps[0])
    np.testing.assert_allclose(unsure.affine, AFFINE)
    values = np.asarray(unsure.dataobj)
    assert values.dtype == np.float32
    assert 0 <= values.min() < values.max() <= 1


def test_answers_are_measured_in_space(place: Path, tmp_path: Path) -> None:
    words = ("predict", place / "predictor", place / "asked", "--measure", "--json")
    ended = medmeta(*words, "--out", tmp_path / "masks")
    assert ended.code == 0, ended
    (row,) = ended.json()["measured"]
    assert row["dice"]["mean"] > 0.85
    assert row["size_error"]["mean"] < 0.3
    page = tmp_path / "page.html"
    ended = medmeta("report", place / "predictor", "--query", place / "asked", "--out", page)
    assert ended.code == 0, ended
    assert "mm³" in page.read_text()


def test_tasks_of_patches_are_evaluated(place: Path) -> None:
    words = ("evaluate", place / "run", "--source", place / "asked", "--shot", "1", "--query", "1")
    ended = medmeta(*words, "--episodes", "2", "--distances", "--json")
    assert ended.code == 0, ended
    (row,) = ended.json()
    assert row["summary"]["dice"]["mean"] > 0.5


@pytest.mark.parametrize("spacing", ["3", "any"])
def test_other_voxels_come_back_to_their_own(place: Path, tmp_path: Path, spacing: str) -> None:
    words = ("adapt", place / "mine", "--model", place / "run", "--task", "segmentation")
    more = ("--spacing", spacing, "--no-estimate", "--out", tmp_path / "p")
    assert medmeta(*words, *more).code == 0
    image, truth = balls(1, seed=9, shape=(20, 34, 27))
    affine = np.diag([2.5, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(image[0], affine), tmp_path / "v.nii.gz")
    ended = medmeta("predict", tmp_path / "p", tmp_path / "v.nii.gz", "--out", tmp_path / "m")
    assert ended.code == 0, ended
    (written,) = (tmp_path / "m").glob("*.nii.gz")
    mask = np.asarray(nibabel.load(written).dataobj)
    assert mask.shape == truth[0].shape
    assert dice(mask == 1, truth[0] == 1) > 0.7


def test_volumes_are_learned_all_at_once(place: Path, tmp_path: Path) -> None:
    whole = ("--depth", "16", "--size", "24", "--channels", "1")
    words = ("train", "--target", "masks", "--learner", "pixel_ridge", "--encoder", "unet",
             "--set", "encoder.options.width=4", "--set", "encoder.options.levels=1")  # fmt: skip
    steps = ("--shot", "1", "--query", "1", "--tasks-per-step", "1", "--steps", "1",
             "--validation", "none", "--seed", "0")  # fmt: skip
    ended = medmeta(*words, "--source", place / "mine", *whole, *steps, "--out", tmp_path / "run")
    assert ended.code == 0, ended
    words = ("adapt", place / "mine", "--model", tmp_path / "run", "--task", "segmentation")
    ended = medmeta(*words, "--no-estimate", "--out", tmp_path / "p")
    assert ended.code == 0, ended
    assert "3 volumes with masks" in ended.out + ended.err
    images = place / "asked" / "images"
    ended = medmeta("predict", tmp_path / "p", images, "--out", tmp_path / "m", "--uncertainty")
    assert ended.code == 0, ended
    for path in sorted(images.iterdir()):
        (written,) = (tmp_path / "m").glob(f"*{path.name.split('.')[0]}.nii.gz")
        truth = nibabel.load(place / "asked" / "masks" / path.name)
        found, wanted = (np.asarray(one.dataobj) == 1 for one in (nibabel.load(written), truth))
        assert dice(found, wanted) > 0.6  # at half the depth


def test_series_come_back_as_segmentations(place: Path, tmp_path: Path) -> None:
    images, truth = balls(1, seed=3, shape=(24, 24, 20))
    frame = generate_uid()
    for number in range(20):
        dicom(
            tmp_path / "ct" / f"{number}.dcm", images[0][:, :, number].astype(np.int16),
            FrameOfReferenceUID=frame, ImagePositionPatient=[0, 0, 3.0 * number],
            ImageOrientationPatient=FACING_UP, PixelSpacing=[2, 1.5], SliceThickness=3,
            RescaleSlope=1, RescaleIntercept=0, InstanceNumber=number + 1, WindowCenter=128,
            WindowWidth=256, PatientSex="F", StudyID="1", StudyDate="", StudyTime="",
            AccessionNumber="", SeriesNumber=1, ReferringPhysicianName="",
            PositionReferenceIndicator="",
        )  # fmt: skip
    out = tmp_path / "masks"
    ended = medmeta("predict", place / "predictor", tmp_path / "ct", "--out", out, "--json")
    assert ended.code == 0, ended
    (told,) = ended.json()["images"]
    header = pydicom.dcmread(out / told["mask"])
    marked = told["structures"][0]
    assert header.pixel_array.sum() == marked["pixels"]
    assert marked["pixels"] == pytest.approx((truth[0] == 1).sum(), rel=0.3)
    assert marked["size_mm"] == pytest.approx(marked["pixels"] * 2 * 1.5 * 3)
    # And what was written is learned from in its turn.
    for folder in ("images", "masks"):
        (tmp_path / "own" / folder).mkdir(parents=True)
    (tmp_path / "ct").rename(tmp_path / "own" / "images" / "ct")
    (out / told["mask"]).rename(tmp_path / "own" / "masks" / "ct.dcm")
    words = ("adapt", tmp_path / "own", "--model", place / "run", "--task", "segmentation")
    ended = medmeta(*words, "--out", tmp_path / "p", "--json")
    assert ended.code == 0, ended
    assert ended.json()["images"] == 4
    assert ended.json()["structures"]["structure"] >= 3


def test_voxels_of_another_size_are_refused_in_words(place: Path, tmp_path: Path) -> None:
    image, _ = balls(1)
    nibabel.save(nibabel.Nifti1Image(image[0], np.diag([1.0, 1, 1, 1])), tmp_path / "v.nii.gz")
    ended = medmeta("predict", place / "predictor", tmp_path / "v.nii.gz", "--out", tmp_path / "m")
    assert ended.code != 0
    assert "voxels of 1 x 1 x 1 mm, and the structure was learned in" in ended.out + ended.err
    assert not (tmp_path / "m").exists()


def test_what_is_no_volume_is_refused(place: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "flat.png")
    predictor, out = place / "predictor", tmp_path / "m"
    ended = medmeta("predict", predictor, tmp_path / "flat.png", "--out", out)
    assert ended.code != 0
    assert "marks volumes" in ended.out + ended.err
    images = place / "asked" / "images"
    ended = medmeta("predict", predictor, images, "--tiles", "--out", out)
    assert ended.code != 0
    assert "--tiles is of pictures" in ended.out + ended.err
    assert not out.exists()
    words = ("train", "--target", "classes", "--source", place / "mine", *PATCHES)
    ended = medmeta(*words, "--out", tmp_path / "run")
    assert ended.code != 0
    assert "--patches is of masks" in ended.out + ended.err
    words = ("train", "--target", "masks", "--source", place / "mine", "--patches", "4")
    ended = medmeta(*words, "--out", tmp_path / "run")
    assert ended.code != 0
    assert "say depth too" in ended.out + ended.err


def test_blocks_beside_everything_do_not_count_as_right(place: Path) -> None:
    """Of twelve blocks two show nothing: ten are held against their masks."""
    predictor = load_mask_predictor(place / "predictor")
    masks = predictor.masks.copy()
    masks[[3, 7]] = 0
    groups = np.repeat(np.arange(3), 4)
    (found,) = with_held_out(replace(predictor, masks=masks), groups).card["held_out"]
    assert (found["images"], found["groups"]) == (10, 3)


def test_a_point_in_a_volume_corrects_it(place: Path) -> None:
    predictor = load_mask_predictor(place / "predictor")
    block = predictor.pixels[0]
    refined = predictor.refined(block, [Point(row=4, column=5, structure=0, slice=6)], radius=2)
    added = refined.masks[-1]
    assert added[6, 4, 5] == 0
    assert (added == 255).sum() == added.size - 33  # a ball of radius 2 has 33 voxels
    with pytest.raises(SettingsError, match="slices 0 to 15"):
        predictor.refined(block, [Point(row=4, column=5, structure=0, slice=16)])
