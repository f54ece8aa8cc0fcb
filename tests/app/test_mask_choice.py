"""Marking without a run: what needs no training is tried on these images, the better is taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app._typed import medmeta
from tests.data.masked_files import pictures, write_pairs
from tests.data.masked_volumes import write_volumes


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unnamed")
    write_pairs(root / "mine", n=3)
    ended = medmeta("adapt", root / "mine", "--task", "segmentation", "--out", root / "marker")
    assert ended.code == 0, ended
    assert "No run was named" in ended.out + ended.err
    return root


def only(root: Path, n: int) -> Path:
    """The first marked images alone."""
    some = root.parent / f"first_{n}"
    for folder in ("images", "masks"):
        (some / folder).mkdir(parents=True)
        for path in sorted((root / folder).iterdir())[:n]:
            shutil.copy(path, some / folder)
    return some


def test_what_it_makes_marks_other_images(place: Path, tmp_path: Path) -> None:
    images, masks = pictures(6, seed=4)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    out = tmp_path / "marked"
    ended = medmeta("predict", place / "marker", *sorted(tmp_path.glob("*.png")), "--out", out)
    assert ended.code == 0, ended
    for path, wanted in zip(sorted(out.glob("000*.png")), masks, strict=True):
        found = np.asarray(Image.open(path)) == 1
        assert 2 * (found & (wanted == 1)).sum() / (found.sum() + (wanted == 1).sum()) > 0.85


def test_the_report_does_not_speak_of_a_training(place: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ended = medmeta("report", place / "marker", "--query", place / "mine" / "images", "--out", page)
    assert ended.code == 0, ended
    text = page.read_text(encoding="utf-8")
    assert "pixel_" in text
    assert "trained with" not in text


def test_the_better_on_images_left_out_is_taken_and_said(place: Path, tmp_path: Path) -> None:
    words = ("adapt", place / "mine", "--task", "segmentation", "--json", "--out", tmp_path / "p")
    told = medmeta(*words).json()
    figures = {one["learner"]: one["dice"] for one in told["choice"]}
    assert set(figures) == {"pixel_ridge", "pixel_forest"}
    assert told["learner"] == max(figures, key=lambda name: figures[name])
    assert told["held_out"][0]["dice"] == pytest.approx(max(figures.values()), abs=0.1)


def test_of_one_image_nothing_can_be_left_out(place: Path, tmp_path: Path) -> None:
    one = only(place / "mine", 1)
    words = ("adapt", one, "--task", "segmentation", "--json", "--out", tmp_path / "p")
    told = medmeta(*words).json()
    assert told["learner"] == "pixel_ridge"
    assert told["choice"] == [{"learner": "pixel_ridge", "dice": None}]


def test_without_time_one_is_tried(place: Path, tmp_path: Path) -> None:
    words = ("--task", "segmentation", "--budget", "0", "--json", "--out", tmp_path / "p")
    told = medmeta("adapt", place / "mine", *words).json()
    assert [one["learner"] for one in told["choice"]] == ["pixel_ridge"]


def test_a_learner_may_be_named_with_its_options(place: Path, tmp_path: Path) -> None:
    words = ("--learner", "pixel_forest", "--set", "trees=5", "--no-estimate", "--json")
    told = medmeta(
        "adapt", place / "mine", "--task", "segmentation", *words, "--out", tmp_path / "p"
    ).json()
    assert told["learner"] == "pixel_forest"
    assert told["held_out"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--learner", "conditioned_unet"), "learns across tasks"),
        (("--learner", "ridge"), "not masks"),
        (("--learner", "pixel_rigde"), "pixel_ridge"),
        (("--set", "trees=5"), "--set goes with --learner"),
        (("--expect-sha256", "0" * 64), "name the run by --model"),
        (("--standardise", "site"), "--standardise is for classification"),
        (("--learner", "pixel_ridge", "--head", "pixel_forest"), "are two"),
    ],
)
def test_what_cannot_be_is_refused(
    place: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ended = medmeta(
        "adapt", place / "mine", "--task", "segmentation", *words, "--out", tmp_path / "p"
    )
    assert ended.code == 2
    assert said in ended.err
    assert not (tmp_path / "p").exists()


def test_volumes_are_learned_in_blocks(tmp_path: Path) -> None:
    write_volumes(tmp_path / "mine", n=2)
    words = ("--task", "segmentation", "--patches", "2", "--learner", "pixel_ridge", "--json")
    told = medmeta("adapt", tmp_path / "mine", *words, "--out", tmp_path / "p").json()
    assert told["images"] == 4
    assert told["learner"] == "pixel_ridge"
