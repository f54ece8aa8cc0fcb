"""Answers held against masks that are there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.app.asked import Asked
from medmeta.app.mask_answers import MarkedImage
from medmeta.app.measured_masks import FIGURES, groups_of, in_all, measure
from medmeta.data.mask_sources import read_true_masks
from medmeta.data.preprocess import Preprocessing
from medmeta.data.scan import Scan
from tests.app._typed import medmeta, refused
from tests.data.masked_files import write_pairs

pytest.importorskip("monai", reason="the extra segmentation")
RIDGE = ("--target", "masks", "--learner", "conditioned_unet", "--set", "width=4", "--set",
         "levels=1", "--size", "32", "--shot", "1-2", "--query", "2", "--steps", "2",
         "--validation", "none", "--seed", "0")  # fmt: skip


def answered(mask: np.ndarray, spacing: tuple[float | None, ...], plane: str) -> MarkedImage:
    first, rows, columns = spacing
    scan = Scan("nifti", "x", (Path("x"),), len(mask), (9, 9), (first, rows, columns))
    shown = tuple(np.zeros(one.shape, np.uint8) for one in mask)
    return MarkedImage(
        Asked(Path("x"), (), scan), shown, mask.astype(np.uint8), np.zeros(1), plane=plane
    )


def test_a_volume_is_measured_in_space() -> None:
    truth = np.zeros((12, 14, 16), dtype=np.int64)
    truth[2:6, 3:9, 4:10] = 1
    given = np.roll(truth, 2, axis=0)  # two slices further
    (found,) = measure(answered(given, (3.0, 1.0, 1.0), "axial"), truth, 1)
    assert found["dice"] == pytest.approx(2 * (2 * 36) / (2 * 4 * 36))
    assert found["iou"] == pytest.approx(2 / 6)
    assert found["size_error"] == 0
    assert found["hd95"] == pytest.approx(6.0)  # two slices of 3 mm
    assert 0 < found["surface_dice"] < 1
    # Cut across the body, slices are as far apart as rows of axial ones.
    (found,) = measure(answered(given, (1.0, 3.0, 1.0), "coronal"), truth, 1)
    assert found["hd95"] == pytest.approx(6.0)


def test_a_picture_without_spacing_is_measured_in_pixels() -> None:
    truth = np.zeros((1, 20, 20), dtype=np.int64)
    truth[0, 5:15, 5:9] = 1
    given = np.roll(truth, 3, axis=1)
    (found,) = measure(answered(given, (None, None, None), "axial"), truth, 1)
    assert found["hd95"] == pytest.approx(3.0)
    assert found["dice"] == pytest.approx(0.7)
    nothing = np.zeros_like(truth)
    (empty,) = measure(answered(nothing, (None, None, None), "axial"), nothing, 1)
    assert (empty["dice"], empty["iou"], empty["centreline_dice"]) == (1, 1, 1)
    assert np.isnan(empty["hd95"])
    assert np.isnan(empty["size_error"])


def test_what_is_not_labelled_does_not_count() -> None:
    truth = np.zeros((1, 10, 10), dtype=np.int64)
    truth[0, :4, :4] = 1
    truth[0, 6:] = -1
    given = truth.copy()
    given[0, 6:] = 1
    (found,) = measure(answered(given, (None, None, None), "axial"), truth, 1)
    assert (found["dice"], found["hd95"], found["centreline_dice"]) == (1, 0, 1)


def test_an_interval_over_few_images_stays_where_figures_can_be() -> None:
    far = [({"hd95": length, **dict.fromkeys(set(FIGURES) - {"hd95"}, share)},) for length, share in
           ((1.0, 0.02), (90.0, 0.98))]  # fmt: skip
    (row,) = in_all(far, ["lesion"], np.array([0, 1]))
    assert (row["dice"]["low"], row["dice"]["high"]) == (0.0, 1.0)
    assert row["hd95"]["low"] == 0.0
    assert row["hd95"]["high"] > 90.0
    assert row["size_error"]["high"] > 1.0


def test_figures_are_of_the_images_in_which_they_are_defined() -> None:
    """Missed structures have no distance, which must not look as if it were of all images."""
    found = dict.fromkeys(FIGURES, 0.9) | {"hd95": 2.0}
    missed = dict.fromkeys(FIGURES, 0.0) | {"hd95": float("nan")}
    (row,) = in_all([[found], [missed], [missed]], ["lesion"], np.arange(3))
    assert (row["images"], row["dice"]["images"], row["hd95"]["images"]) == (3, 3, 1)
    assert row["hd95"]["mean"] == 2.0


def test_means_are_of_patients() -> None:
    figures = [[dict.fromkeys(FIGURES, value)] for value in (0.2, 0.4, 0.9)]
    (row,) = in_all(figures, ["lesion"], np.array([0, 0, 1]))
    assert row["dice"]["mean"] == pytest.approx((0.3 + 0.9) / 2)
    undefined = [[dict.fromkeys(FIGURES, np.nan)]]
    (row,) = in_all(undefined, ["lesion"], np.array([0]))
    assert row["hd95"] == {"mean": None, "low": None, "high": None, "images": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("measured")
    write_pairs(root / "trained", n=8)
    write_pairs(root / "mine", n=3, seed=1)
    write_pairs(root / "asked", n=4, seed=2)
    assert medmeta("train", "--source", root / "trained", *RIDGE, "--out", root / "run").code == 0
    words = ("adapt", root / "mine", "--model", root / "run", "--task", "segmentation")
    ended = medmeta(*words, "--out", root / "predictor", "--no-estimate")
    assert ended.code == 0, ended
    return root


def test_from_the_command_line_to_the_table(place: Path, tmp_path: Path) -> None:
    words = ("predict", place / "predictor", place / "asked", "--out", tmp_path / "m")
    ended = medmeta(*words, "--measure", "--json")
    assert ended.code == 0, ended
    (told,) = ended.json()["measured"]
    with (tmp_path / "m" / "masks.csv").open() as file:
        rows = list(csv.DictReader(file))
    dice = []
    for number, row in enumerate(rows):
        given = np.asarray(Image.open(tmp_path / "m" / row["mask"])) == 1
        wanted = np.asarray(Image.open(place / "asked" / "masks" / f"{number}_mask.png")) > 0
        dice.append(2 * (given & wanted).sum() / (given.sum() + wanted.sum()))
    assert [float(row["dice"]) for row in rows] == pytest.approx(dice, abs=1e-5)
    assert told["images"] == 4
    assert told["dice"]["mean"] == pytest.approx(np.mean(dice))
    shown = medmeta(*words[:-1], tmp_path / "again", "--measure")
    assert "Against the truth" in shown.out + shown.err


def test_what_cannot_be_measured(place: Path, tmp_path: Path) -> None:
    words = ("predict", place / "predictor", "--out", tmp_path / "m", "--measure")
    refused(*words, place / "asked" / "images", says="expected a folder 'images'")
    refused(*words, place / "asked", place / "mine", says="name one folder of images and masks")
    write_pairs(tmp_path / "two", n=2)
    (tmp_path / "two" / "structures.csv").write_text("value,name\n255,kidney\n")
    refused(*words, tmp_path / "two", says="its masks are of kidney, and structure was learned")


def test_true_masks_have_their_own_size(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", n=2, size=48)
    truth = read_true_masks(tmp_path / "set", ["structure"], preprocessing=Preprocessing(size=16))
    assert [mask.shape for mask in truth.masks] == [(1, 48, 48)] * 2
    assert set(np.unique(truth.masks[0])) == {0, 1}
    assert len(set(groups_of(truth).tolist())) == 2
