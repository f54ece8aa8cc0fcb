"""Marking without a run: the model in the box and what needs no training, the best is taken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.app.mask_choice import (
    BOXED,
    TRIED,
    adapt_without_a_run,
    figures,
    taken,
    without_a_run,
)
from medmeta.app.mask_workbench import load_mask_predictor
from medmeta.app.models import load_boxed
from medmeta.data.mask_sources import open_mask_source
from medmeta.storage import sealed
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


def learner_of(name: str) -> str:
    """What a candidate is of."""
    return str(load_boxed(BOXED).card["learner"]) if name == BOXED else name


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


def test_the_report_says_what_was_taken_and_by_which_figures(place: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    images = place / "mine" / "images"
    ended = medmeta("report", place / "marker", "--query", images, "--out", page)
    assert ended.code == 0, ended
    text, tried = (
        page.read_text(encoding="utf-8"),
        load_mask_predictor(place / "marker").card[TRIED],
    )
    assert f"Marked by {taken(tried)}" in text
    assert figures(tried) in text


def test_a_card_whose_figures_are_no_figures_is_refused(place: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(place / "marker", broken)
    card = json.loads((broken / "card.json").read_text("utf-8"))
    card[TRIED] = {BOXED: "good"}
    (broken / "card.json").write_text(json.dumps(sealed(card)), "utf-8")
    images = place / "mine" / "images"
    ended = medmeta("report", broken, "--query", images, "--out", tmp_path / "report.html")
    assert ended.code == 2
    assert TRIED in ended.err


def test_each_that_is_tried_is_told(place: Path) -> None:
    heard: list[tuple[int, int, str]] = []
    preprocessing = without_a_run({})
    source = open_mask_source(place / "mine", preprocessing=preprocessing)
    adapt_without_a_run(
        source, preprocessing, seconds=60, estimate=False, progress=lambda *one: heard.append(one)
    )
    assert [one[2] for one in heard[:-1]] == [BOXED, "pixel_ridge", "pixel_forest"]
    assert heard[-1][:2] == (3, 4)


def test_the_report_of_a_learner_without_training_speaks_of_none(
    place: Path, tmp_path: Path
) -> None:
    words = ("--task", "segmentation", "--learner", "pixel_ridge", "--no-estimate")
    assert medmeta("adapt", place / "mine", *words, "--out", tmp_path / "p").code == 0
    page = tmp_path / "report.html"
    images = place / "mine" / "images"
    ended = medmeta("report", tmp_path / "p", "--query", images, "--out", page)
    assert ended.code == 0, ended
    text = page.read_text(encoding="utf-8")
    assert "pixel_ridge" in text
    assert "trained with" not in text


def test_the_better_on_images_left_out_is_taken_and_said(place: Path, tmp_path: Path) -> None:
    words = ("adapt", place / "mine", "--task", "segmentation", "--json", "--out", tmp_path / "p")
    told = medmeta(*words).json()
    figures = {one["learner"]: one["dice"] for one in told["choice"]}
    assert list(figures) == [BOXED, "pixel_ridge", "pixel_forest"]
    best = max(figures, key=lambda name: figures[name])
    assert told["learner"] == learner_of(best)
    assert f"No run was named: {best} is used" in told["notes"][0]
    assert told["held_out"][0]["dice"] == pytest.approx(max(figures.values()), abs=0.1)


def test_of_one_image_nothing_can_be_left_out(place: Path, tmp_path: Path) -> None:
    one = only(place / "mine", 1)
    words = ("adapt", one, "--task", "segmentation", "--json", "--out", tmp_path / "p")
    told = medmeta(*words).json()
    assert told["learner"] == learner_of(BOXED)
    assert told["choice"] == [{"learner": BOXED, "dice": None}]
    assert "the model in the box" in told["notes"][0]


def test_without_time_one_is_tried(place: Path, tmp_path: Path) -> None:
    words = ("--task", "segmentation", "--budget", "0", "--json", "--out", tmp_path / "p")
    told = medmeta("adapt", place / "mine", *words).json()
    assert [one["learner"] for one in told["choice"]] == [BOXED]


def test_the_model_in_the_box_marks_alike_from_its_folder(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / BOXED).mkdir()  # a folder of that name is not what is meant
    words = ("--task", "segmentation", "--budget", "0", "--no-estimate", "--out", tmp_path / "p")
    assert medmeta("adapt", place / "mine", *words).code == 0
    saved = load_mask_predictor(tmp_path / "p")
    weights, boxed = saved.task.learner.state_dict(), load_boxed(BOXED).learner.state_dict()
    assert all(weights[name].equal(boxed[name]) for name in boxed)
    assert saved.card["model"]["about"]["licences"]
    assert saved.preprocessing == without_a_run({})
    assert saved.pixels.shape[1:] == (3, 128, 128)
    again = load_mask_predictor(tmp_path / "p").answer(saved.pixels)
    assert np.array_equal(again.probabilities, saved.answer(saved.pixels).probabilities)


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


def test_of_blocks_the_model_in_the_box_knows_nothing(tmp_path: Path) -> None:
    write_volumes(tmp_path / "mine", n=2)
    words = ("--task", "segmentation", "--patches", "2", "--json", "--out", tmp_path / "p")
    told = medmeta("adapt", tmp_path / "mine", *words).json()
    assert told["images"] == 4
    assert [one["learner"] for one in told["choice"]] == ["pixel_ridge", "pixel_forest"]
