"""Few images with masks in, masks out: the commands, what they write and what they refuse."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from medmeta.app.mask_files import overlay
from medmeta.app.mask_predictor import Point
from medmeta.app.mask_workbench import load_mask_predictor
from medmeta.app.tiles import tiled
from medmeta.data.preprocess import prepare
from medmeta.errors import CheckpointError, SettingsError
from tests.app._typed import medmeta
from tests.data.dicom_files import FACING_UP, dicom
from tests.data.masked_files import disc, pictures, write_pairs

TRAIN = ("--target", "masks", "--learner", "conditioned_unet", "--set", "width=4", "--set",
         "levels=2", "--size", "32", "--shot", "1-2", "--query", "2", "--steps", "3",
         "--tasks-per-step", "2", "--augment", "tasks", "--seed", "0")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("masks")
    write_pairs(root / "trained", n=12)
    write_pairs(root / "mine", n=5, seed=1)
    images, _ = pictures(9, seed=2)
    (root / "asked").mkdir()
    for number in range(4, 9):
        Image.fromarray(images[number]).save(root / "asked" / f"JaneDoe-{number}.png")
    ended = medmeta("train", "--source", root / "trained", *TRAIN, "--out", root / "run")
    assert ended.code == 0, ended
    words = ("adapt", root / "mine", "--model", root / "run", "--task", "segmentation")
    ended = medmeta(*words, "--out", root / "predictor")
    assert ended.code == 0, ended
    return root


def test_structures_are_found_on_other_images(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    words = ("--overlays", "--uncertainty")
    ended = medmeta("predict", place / "predictor", place / "asked", "--out", out, *words)
    assert ended.code == 0, ended
    _, truth = pictures(9, seed=2)
    found = [np.asarray(Image.open(path)) for path in sorted(out.glob("000?-JaneDoe-?.png"))]
    assert len(found) == 5
    for mask, wanted in zip(found, truth[4:], strict=True):
        assert set(np.unique(mask)) <= {0, 1}
        assert 2 * (mask & wanted).sum() / (mask.sum() + wanted.sum()) > 0.9
    with (out / "masks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["pixels"]) for row in rows] == [int(mask.sum()) for mask in found]
    assert all(row["area_mm2"] == "" and 0 < float(row["confidence"]) <= 1 for row in rows)
    assert all(0 < float(row["expected_dice"]) <= 1 for row in rows)
    assert len(list(out.glob("*overlay*"))) == len(list(out.glob("*uncertainty*"))) == 5


def test_of_a_folder_of_images_and_masks_the_images_are_marked(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    words = ("predict", place / "predictor", place / "mine", "--out", out, "--json")
    ended = medmeta(*words)
    assert ended.code == 0, ended
    named = sorted(path.name for path in (place / "mine" / "images").iterdir())
    asked = [Path(row["path"]).name for row in ended.json()["images"]]
    assert sorted(asked) == named


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_volumes_come_back_on_their_own_grid(place: Path, tmp_path: Path, plane: str) -> None:
    images, _ = pictures(5, seed=6)
    affine = np.array([[0, -1.5, 0, 7], [2.0, 0, 0, -3], [0, 0, -4.0, 9], [0, 0, 0, 1.0]])
    values = np.repeat(images.transpose(1, 2, 0), 4, axis=2).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "v.nii.gz")
    out = tmp_path / "masks"
    words = ("adapt", place / "mine", "--model", place / "run", "--task", "segmentation")
    ended = medmeta(*words, "--plane", plane, "--no-estimate", "--out", tmp_path / "p")
    assert ended.code == 0, ended
    words = ("predict", tmp_path / "p", tmp_path / "v.nii.gz", "--in-mm", "--json")
    ended = medmeta(*words, "--out", out)
    assert ended.code == 0, ended
    (told,) = ended.json()["images"]
    written = nibabel.load(out / told["mask"])
    mask = np.asarray(written.dataobj)
    assert mask.shape == values.shape
    np.testing.assert_allclose(written.affine, affine)
    (structure,) = told["structures"]
    assert structure["pixels"] == (mask == 1).sum() > 0
    assert structure["size_mm"] == pytest.approx(structure["pixels"] * 1.5 * 2 * 4)
    inside, outside = values[mask == 1].mean(), values[mask == 0].mean()
    assert inside > outside + 50  # what is marked is what is bright


def test_series_come_back_as_segmentations_of_their_patient(place: Path, tmp_path: Path) -> None:
    images, _ = pictures(4, seed=7)
    frame = generate_uid()
    for number, image in enumerate(images):
        dicom(
            tmp_path / "ct" / f"{number}.dcm", image.astype(np.int16), FrameOfReferenceUID=frame,
            ImagePositionPatient=[0, 0, 3.0 * number], ImageOrientationPatient=FACING_UP,
            PixelSpacing=[0.5, 0.5], SliceThickness=3, RescaleSlope=1, RescaleIntercept=0,
            InstanceNumber=number + 1, WindowCenter=128, WindowWidth=256, PatientSex="F",
            StudyID="1", StudyDate="", StudyTime="", AccessionNumber="", SeriesNumber=1,
            ReferringPhysicianName="", PositionReferenceIndicator="",
        )  # fmt: skip
    out = tmp_path / "masks"
    ended = medmeta("predict", place / "predictor", tmp_path / "ct", "--out", out, "--json")
    assert ended.code == 0, ended
    (told,) = ended.json()["images"]
    header = pydicom.dcmread(out / told["mask"])
    assert header.PatientID == "MRN-0815"
    assert header.StudyInstanceUID == "1.2.3.4"
    assert header.pixel_array.sum() == told["structures"][0]["pixels"] > 0
    assert "MRN-0815" not in ended.out + (out / "masks.csv").read_text()


def test_it_is_measured_on_tasks(place: Path) -> None:
    words = ("evaluate", place / "run", "--source", place / "mine", "--shot", "1", "--query", "2")
    ended = medmeta(*words, "--episodes", "4", "--distances", "--json")
    assert ended.code == 0, ended
    (row,) = ended.json()
    (found,) = row["structures"].values()
    assert found["dice"]["mean"] == pytest.approx(row["summary"]["dice"]["mean"])  # there is one
    assert found["dice"]["tasks"] == 4
    assert found["hd95"]["mean"] >= 0
    assert 0 <= found["surface_dice"]["mean"] <= 1
    shown = medmeta(*words, "--episodes", "4")
    assert "By structure" in shown.out + shown.err
    assert "HD95" not in shown.out + shown.err
    assert row["protocol"]["kind"] == "masks"
    assert row["summary"]["dice"]["mean"] > 0.5
    told = medmeta("inspect", place / "run")
    assert told.code == 0, told
    assert f"{100 * row['summary']['dice']['mean']:.1f}" in told.out


def test_a_predictor_of_masks_is_looked_at(place: Path) -> None:
    told = medmeta("inspect", place / "predictor")
    assert told.code == 0, told
    assert "structure" in told.out


def test_a_saved_predictor_gives_the_same_answers(place: Path, tmp_path: Path) -> None:
    first = load_mask_predictor(place / "predictor")
    (found,) = first.card["held_out"]
    assert (found["images"], found["groups"]) == (5, 5)
    first.save(tmp_path / "copy")
    again = load_mask_predictor(tmp_path / "copy")
    images, _ = pictures(2)
    asked = np.stack([prepare(image, first.preprocessing) for image in images])
    one, other = first.answer(asked).probabilities, again.answer(asked).probabilities
    np.testing.assert_array_equal(one, other)
    (tmp_path / "copy" / "support.safetensors").write_bytes(b"0")
    with pytest.raises(CheckpointError):
        load_mask_predictor(tmp_path / "copy")


def test_points_change_the_mask_where_they_are(place: Path) -> None:
    predictor = load_mask_predictor(place / "predictor")
    random = np.random.default_rng(5)
    image = random.integers(20, 60, (32, 32)).astype(np.uint8)
    image[disc(32, 16, 16, 5)] += 150
    image[disc(32, 6, 26, 4)] = 110  # grey: is it meant?
    prepared = prepare(image, predictor.preprocessing)
    asked = [Point(6, 26, 1), Point(26, 6, 0), Point(16, 16, 1)]
    refined = predictor.refined(prepared, asked, radius=2)
    marked = refined.answer(prepared[None]).probabilities[0].argmax(0)
    assert marked[6, 26] == 1
    assert marked[16, 16] == 1
    assert marked[26, 6] == 0
    before = predictor.answer(prepared[None]).probabilities
    np.testing.assert_array_equal(before, predictor.answer(prepared[None]).probabilities)
    with pytest.raises(SettingsError, match="rows are 0 to 31"):
        predictor.refined(prepared, [Point(40, 0, 1)])


def test_a_picture_of_one_tile_is_answered_as_it_is(place: Path) -> None:
    predictor = load_mask_predictor(place / "predictor")
    image = pictures(1)[0][0]
    whole = predictor.answer(prepare(image, predictor.preprocessing)[None]).probabilities[0]
    np.testing.assert_allclose(tiled(predictor, image), whole, atol=1e-6)
    large = np.tile(image, (3, 3))
    found = tiled(predictor, large)
    assert found.shape == (2, 96, 96)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_an_outline_is_the_inner_edge() -> None:
    mask = np.zeros((7, 7), dtype=np.uint8)
    mask[2:5, 2:5] = 1
    drawn = overlay(np.zeros((7, 7), dtype=np.uint8), mask)
    assert int((drawn.sum(2) > 0).sum()) == 8  # nine pixels without their middle


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--in-mm",), "spacing"),
        (("--format", "nifti"), "--format nifti is for NIFTI"),
        (("--format", "jpeg"), "choose auto"),
        (("--tiles", "--uncertainty"), "leave out --tiles"),
        (("--sets", "0.9"), "--sets and --sets-by-class are for predictors of classes"),
        (("--sets-by-class",), "--sets and --sets-by-class are for predictors of classes"),
    ],
)
def test_what_cannot_be_given_is_refused(
    place: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "masks"
    ended = medmeta("predict", place / "predictor", place / "asked", "--out", out, *words)
    assert ended.code == 2
    assert said in ended.err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_a_support_in_which_nothing_is_marked(place: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "empty", value=0)
    words = ("adapt", tmp_path / "empty", "--model", place / "run", "--task", "segmentation")
    ended = medmeta(*words, "--out", tmp_path / "p")
    assert ended.code == 2
    assert "marks anything" in ended.err.replace("\n", " ")
    assert not (tmp_path / "p").exists()


def test_what_is_declared_and_not_marked_is_no_part_of_the_task(
    place: Path, tmp_path: Path
) -> None:
    write_pairs(tmp_path / "set", n=3, value=7, seed=4)
    (tmp_path / "set" / "structures.csv").write_text("value,name\n3,kidney\n7,liver\n")
    words = ("adapt", tmp_path / "set", "--model", place / "run", "--task", "segmentation")
    ended = medmeta(*words, "--out", tmp_path / "p", "--json")
    assert ended.code == 0, ended
    assert ended.json()["structures"] == {"liver": 3}
    assert set(np.unique(load_mask_predictor(tmp_path / "p").masks)) == {0, 1}


def test_a_run_of_masks_is_not_for_classes(place: Path, tmp_path: Path) -> None:
    ended = medmeta("adapt", place / "mine", "--model", place / "run", "--out", tmp_path / "p")
    assert ended.code == 2
    assert "--task segmentation" in ended.err.replace("\n", " ")
