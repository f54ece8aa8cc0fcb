"""``adapt`` with the learner that chooses: its card, its table, its budget, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medmeta.app.choosing import learner_on, seconds_of
from medmeta.app.images import read_images
from medmeta.app.models import load_model
from medmeta.app.support import open_support
from medmeta.app.trusting import trusted
from medmeta.app.workbench import adapt, load_predictor
from medmeta.errors import SettingsError
from medmeta.learners.auto import searching
from medmeta.storage import CARD, read_json
from tests.app._typed import WEIRD, folder, medmeta, picture, refused


@pytest.fixture(scope="module")
def chosen(workplace: Path, run: Path) -> Path:
    """A predictor whose head was chosen."""
    words = ("adapt", workplace / "mine", "--model", run, "--learner", "auto")
    ended = medmeta(*words, "--out", workplace / "chosen")
    assert ended.code == 0, ended
    assert "Candidates on images held out" in ended.out
    assert "Chosen: " in ended.err
    assert "made again in every fold" in ended.err
    return workplace / "chosen"


def test_the_choice_stands_in_the_card(chosen: Path) -> None:
    card = read_json(chosen / CARD)
    choice, frozen = card["choice"], card["head"]["options"]["choice"]
    assert choice["tried"] == choice["of"] > 20
    assert choice["nested"] is True
    assert {row["name"] for row in choice["candidates"]} >= set(frozen["members"])
    assert choice["chosen"] in (*frozen["members"], f"average of {', '.join(frozen['members'])}")


def test_loading_answers_the_same_and_searches_nothing(
    chosen: Path, run: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(run)
    support = open_support(workplace / "mine", model.preprocessing).source
    fresh = trusted(adapt(model, support, head="auto"), support, model)
    asked = read_images([workplace / "asked"], model.preprocessing).pixels
    expected = fresh.predict(asked).outputs

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("folds were drawn")

    monkeypatch.setattr(searching, "draw_rounds", fail)
    loaded = load_predictor(chosen)
    np.testing.assert_array_equal(loaded.predict(asked).outputs, expected)


def test_a_card_whose_choice_is_none_is_refused(chosen: Path, tmp_path: Path) -> None:
    from medmeta.errors import CheckpointError
    from medmeta.storage import load_folder, save_folder

    card, parts = load_folder(chosen)
    options = {**card["head"]["options"], "choice": {"members": ["x"], "temperatures": [1.0]}}
    told = {k: v for k, v in card.items() if k != "sha256"}
    save_folder(tmp_path / "bad", {**told, "head": {**card["head"], "options": options}}, parts)
    with pytest.raises(CheckpointError):
        load_predictor(tmp_path / "bad")


def test_the_estimate_chooses_again_in_every_fold(
    run: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    model = load_model(run)
    support = open_support(workplace / "mine", model.preprocessing).source
    predictor = adapt(model, support, head="auto")
    drawn: list[tuple[int, ...]] = []
    known = searching.draw_rounds

    def counted(part: object, target: object) -> object:
        drawn.append(tuple(part.labels.shape))  # type: ignore[attr-defined]
        return known(part, target)  # type: ignore[arg-type]

    monkeypatch.setattr(searching, "draw_rounds", counted)
    trusted(predictor, support, model)
    assert drawn == [(10, 16)]  # twice five folds, each learned from 16 of the 20 images


def test_the_default_is_taken_without_a_budget(workplace: Path, run: Path, tmp_path: Path) -> None:
    words = ("adapt", workplace / "mine", "--model", run, "--learner", "auto", "--budget", "0")
    ended = medmeta(*words, "--no-estimate", "--json", "--out", tmp_path / "p")
    assert ended.code == 0, ended
    choice = json.loads(ended.out)["choice"]
    assert choice["tried"] == 0
    assert choice["candidates"] == []
    assert "no search" in choice["why"]


def test_one_image_of_each_class_is_said(run: Path, tmp_path: Path) -> None:
    folder(tmp_path / "few", WEIRD, 1, seed=8)
    words = ("adapt", tmp_path / "few", "--model", run, "--learner", "auto")
    ended = medmeta(*words, "--out", tmp_path / "p")
    assert ended.code == 0, ended
    assert "cross-validation is impossible" in ended.err
    assert "made again in every fold" not in ended.err  # there was none
    assert "nested" not in read_json(tmp_path / "p" / CARD)["choice"]


def test_one_class_is_refused(run: Path, tmp_path: Path) -> None:
    picture(tmp_path / "one" / "benign" / "a.png", 1)
    words = ("adapt", tmp_path / "one", "--model", run, "--learner", "auto")
    refused(*words, "--out", tmp_path / "p", says="one class only")


@pytest.mark.parametrize("budget", ["soon", "-1", "10 days", "25h", "nan", "1e3", ""])
def test_a_budget_that_is_no_time_is_refused(
    budget: str, workplace: Path, run: Path, tmp_path: Path
) -> None:
    words = ("adapt", workplace / "mine", "--model", run, "--learner", "auto", "--budget", budget)
    refused(*words, "--out", tmp_path / "p", says="--budget")
    assert not (tmp_path / "p").exists()


def test_a_budget_for_a_learner_that_chooses_nothing_is_refused(
    workplace: Path, run: Path, tmp_path: Path
) -> None:
    words = ("adapt", workplace / "mine", "--model", run, "--budget", "5s")
    refused(*words, "--out", tmp_path / "p", says="nothing to choose")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10.0), ("10m", 600.0), ("2h", 7200.0), ("0", 0.0), ("1.5 s", 1.5), (None, 10.0)],
)
def test_budgets(text: str | None, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_which_learner_is_put_on_a_model(run: Path) -> None:
    model = load_model(run)
    assert learner_on(model, None, None, is_default=True) == "auto"
    assert learner_on(model, None, None, is_default=False) is None
    assert learner_on(model, "ridge", "ridge", is_default=True) == "ridge"
    with pytest.raises(SettingsError, match="two"):
        learner_on(model, "ridge", "auto", is_default=False)


def test_images_alike_files_of_one_patient_are_never_parted(run: Path, tmp_path: Path) -> None:
    """One patient in all classes: nothing can be held out, and it is said."""
    folder(tmp_path / "images", WEIRD[:2], 3, seed=4)
    files = sorted((tmp_path / "images").rglob("*.png"))
    rows = [f"{f.relative_to(tmp_path)},{f.parent.name},p1" for f in files]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,patient", *rows]), "utf-8")
    words = ("adapt", tmp_path / "m.csv", "--model", run, "--learner", "auto", "--json")
    ended = medmeta(*words, "--out", tmp_path / "p")
    assert ended.code == 0, ended
    choice = json.loads(ended.out)["choice"]
    assert choice["tried"] == 0
    assert "impossible" in choice["how"]
