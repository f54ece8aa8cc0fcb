"""The page of a predictor of masks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.app.asked import Asked
from medmeta.app.mask_answers import MarkedImage
from medmeta.app.report.mask_page import MOST_SHOWN, asked_cards
from medmeta.app.report.words import Words
from medmeta.data.scan import Scan
from tests.app._typed import medmeta, refused
from tests.data.masked_files import pictures, write_pairs

TRAIN = ("--target", "masks", "--learner", "conditioned_unet", "--set", "width=4", "--set",
         "levels=1", "--size", "32", "--shot", "1-2", "--query", "2", "--steps", "2",
         "--validation", "none", "--seed", "0")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("marker")
    write_pairs(root / "trained", n=8)
    write_pairs(root / "mine", n=4, seed=1)
    (root / "mine" / "structures.csv").write_text("value,name\n255,<b>lesion\n")
    write_pairs(root / "truth", n=3, seed=2)
    (root / "truth" / "structures.csv").write_text("value,name\n255,<b>lesion\n")
    (root / "asked").mkdir()
    for number, image in enumerate(pictures(2, seed=3)[0]):
        Image.fromarray(image).save(root / "asked" / f"JaneDoe-{number}.png")
    assert medmeta("train", "--source", root / "trained", *TRAIN, "--out", root / "run").code == 0
    words = ("adapt", root / "mine", "--model", root / "run", "--task", "segmentation")
    ended = medmeta(*words, "--out", root / "predictor")
    assert ended.code == 0, ended
    return root


def test_a_page_of_images_asked_about(place: Path, tmp_path: Path) -> None:
    words = ("report", place / "predictor", "--query", place / "asked", "--out")
    ended = medmeta(*words, tmp_path / "r.html", "--json")
    assert ended.code == 0, ended
    page = (tmp_path / "r.html").read_text()
    assert "JaneDoe" not in page
    assert "<b>lesion" not in page
    assert "&lt;b&gt;lesion" in page
    assert "not a medical device" in page
    assert len(re.findall(r'<img src="data:image/png;base64,', page)) == 4 + 2 * 2
    assert "://" not in re.sub(r"data:image[^\"]*", "", page)
    assert "found by leaving marked images out in turn" in page
    assert "Against masks that are there" not in page
    assert medmeta(*words, tmp_path / "zh.html", "--lang", "zh").code == 0
    assert "勾画结果" in (tmp_path / "zh.html").read_text()
    assert medmeta(*words, tmp_path / "again.html").code == 0
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "r.html").read_bytes()


def test_images_with_masks_are_measured(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai", reason="the extra segmentation")
    words = (
        "report",
        place / "predictor",
        "--query",
        place / "truth",
        "--out",
        tmp_path / "r.html",
    )
    ended = medmeta(*words)
    assert ended.code == 0, ended
    page = (tmp_path / "r.html").read_text()
    assert "Against masks that are there" in page
    assert len(re.findall(r"<article", page)) == 3


def test_without_images_it_shows_what_was_learned_from(place: Path, tmp_path: Path) -> None:
    ended = medmeta("report", place / "predictor", "--out", tmp_path / "r.html")
    assert ended.code == 0, ended
    page = (tmp_path / "r.html").read_text()
    assert "<article" not in page
    assert page.count("Labelled image ") == 4
    words = ("report", place / "predictor", "--run", place / "run", "--out", tmp_path / "x.html")
    refused(*words, says="are of predictors of classes")


def test_of_a_volume_the_slice_is_shown_on_which_most_is_marked() -> None:
    mask = np.zeros((5, 8, 8), dtype=np.uint8)
    mask[1, 2:4, 2:4] = 1
    mask[3, 1:6, 1:6] = 1
    shown = tuple(np.full((8, 8), 10 * n, dtype=np.uint8) for n in range(5))
    scan = Scan("nifti", "v", (Path("v.nii"),), 5, (8, 8), (2.0, 0.5, 0.5))
    one = MarkedImage(Asked(Path("v.nii"), (), scan), shown, mask, np.array([0.8]))
    (card,), _ = asked_cards([one], ["lesion"], Words("en"))
    (row,) = card.rows
    assert (row.pixels, row.size) == (29, "14.5 mm³")  # 29 voxels of half a cubic mm
    assert card.slices == 5
    assert row.dice is row.expected is None
    cards, figures = asked_cards([one] * (MOST_SHOWN + 3), ["lesion"], Words("en"))
    assert (len(cards), len(figures)) == (MOST_SHOWN, MOST_SHOWN + 3)
