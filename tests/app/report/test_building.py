"""Reports from the command line: what they may say, and what they must not."""

from __future__ import annotations

import html
import json
import sys
from pathlib import Path

import pytest

from medmeta.app.report.explaining import _has_hand_made
from medmeta.episode import InputSpec, Target
from medmeta.learners import build_learner
from tests.app._typed import SMALL, WEIRD, medmeta, refused, state


@pytest.fixture(scope="module")
def page(
    predictor: Path, run: Path, workplace: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    words = ["report", predictor, "--query", workplace / "asked", "--run", run, "--out", out]
    ended = medmeta(*words, "--explain", "2", "--model-card", out.with_suffix(".json"), "--json")
    assert ended.code == 0, ended
    assert ended.json()["bytes"] == out.stat().st_size
    return out.read_text(encoding="utf-8")


def test_no_file_name_and_no_path_is_in_it(page: str, workplace: Path) -> None:
    assert "JaneDoe" not in page
    assert str(workplace) not in page
    assert workplace.name not in page


def test_weird_class_names_are_escaped(page: str) -> None:
    for name in WEIRD:
        assert html.escape(name, quote=False) in page
    assert "<b>bold" not in page


def test_it_carries_what_trust_found_out(page: str) -> None:
    for section in ("trust", "calibration", "sets", "novelty", "checklist"):
        assert f'<section id="{section}">' in page


def test_it_has_maps(page: str) -> None:
    assert '<section id="explanation">' in page
    assert page.count('<div class="pair">') == 2


def test_maps_need_no_extra_and_no_slow_library(
    predictor: Path, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("captum", "captum.attr", "scipy.stats", "sklearn.decomposition"):
        monkeypatch.setitem(sys.modules, name, None)
    words = ("report", predictor, "--query", workplace / "asked", "--out", tmp_path / "r.html")
    assert medmeta(*words).code == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert '<section id="explanation">' in text
    assert '<section id="map">' in text


def test_the_same_in_chinese_with_a_model_card(
    predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    words = ["report", predictor, "--query", workplace / "asked", "--lang", "zh", "--explain", "0"]
    words += ["--out", tmp_path / "r.html", "--model-card", tmp_path / "r.json"]
    assert medmeta(*words).code == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in text
    assert "仅供研究使用" in text
    card = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert card["format"] == "medmeta-model-card/1"
    assert card["metrics"]["asked"]["images"] == 6
    assert "JaneDoe" not in text + json.dumps(card)
    assert str(workplace) not in text + json.dumps(card)


def test_a_report_on_labelled_images_alone(predictor: Path, tmp_path: Path) -> None:
    words = ("report", predictor, "--explain", "4", "--out", tmp_path / "r.html")
    assert medmeta(*words).code == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count('<div class="pair">') == 4
    assert "these are labelled images, which it learned from" in text


def test_a_report_on_a_table_of_answers(predictor: Path, workplace: Path, tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    assert medmeta("predict", predictor, workplace / "asked", "--out", table).code == 0
    assert medmeta("report", table, "--out", tmp_path / "r.html").code == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert " of 6 right" in text
    assert "JaneDoe" not in text
    assert str(workplace) not in text


def test_a_report_on_a_run(run: Path, tmp_path: Path) -> None:
    assert medmeta("report", run, "--out", tmp_path / "r.html").code == 0
    assert "prototypical on conv4" in (tmp_path / "r.html").read_text()


def test_figures_of_another_run_are_not_a_predictors(
    run: Path, pretrained: Path, predictor: Path, tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "r.html")
    told = refused(
        "report", predictor, "--run", pretrained, *out, says=("another model", "trained")
    )
    assert told.count("prototypical after 10 steps") == 2
    other = medmeta("train", "--source", run.parent / "trained", *SMALL, "--seed", "7",
                    "--out", tmp_path / "other")  # fmt: skip
    assert other.code == 0, other
    refused("report", predictor, "--run", tmp_path / "other", *out, says=("seed 7", "seed 0"))
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("head", [(), ("--head", "auto", "--budget", "0")], ids=str)
def test_a_packed_copy_is_the_run_itself(
    head: tuple[str, ...], run: Path, workplace: Path, tmp_path: Path
) -> None:
    assert medmeta("models", "pack", run, "--out", tmp_path / "packed").code == 0
    words = ("adapt", workplace / "mine", "--model", tmp_path / "packed", "--window", "lung",
             "--no-estimate", *head)  # fmt: skip
    assert medmeta(*words, "--out", tmp_path / "own").code == 0
    told = medmeta("report", tmp_path / "own", "--run", run, "--out", tmp_path / "r.html")
    assert told.code == 0, told


def test_what_a_report_cannot_do(
    run: Path, predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "image.png").touch()
    before = state(tmp_path)
    out = ("--out", tmp_path / "r.html")
    asked = ("--query", workplace / "asked")
    refused("report", run, *asked, *out, says=("is a run", "medmeta adapt"))
    refused("report", tmp_path / "gone", *out, says="gone")
    refused("report", tmp_path / "empty", *out, says="empty")
    refused("report", predictor, "--query", tmp_path / "empty", *out, says="no image")
    refused("report", predictor, *asked, "--run", tmp_path / "empty", *out, says="empty")
    refused("report", predictor, *asked, "--out", tmp_path / "image.png", says="be lost")
    refused("report", predictor, *asked, "--out", tmp_path, says="is a folder")
    refused("report", predictor, *out, "--lang", "fr", says=("'fr'", "en, zh"))
    refused("report", predictor, *out, "--explain", "-1", says="--explain -1")
    refused("report", predictor, *out, "--model-card", tmp_path / "image.png", says="be lost")
    refused("report", tmp_path / "image.png", *out, says="no table of answers")
    refused("report", tmp_path / "image.png", *asked, *out, says="--query and --run go with")
    assert state(tmp_path) == before


def test_features_without_weights_are_told_from_networks() -> None:
    spec, target = InputSpec(1, (32, 32)), Target("classes", 2)
    network = {"encoder": {"options": {"width": 8}}}
    beside = build_learner("auto", network, spec, target)
    assert _has_hand_made(beside)
    assert not _has_hand_made(build_learner("prototypical", network, spec, target))
