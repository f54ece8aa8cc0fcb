"""Signals from end to end on the command line, and what is refused there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app._typed import medmeta, refused, state
from tests.data.ecg_files import LEADS, write_ecgs, write_record, write_table

KINDS = ("sinus rhythm", "atrial fibrillation", "ventricular tachycardia")
SHAPE = ("--samples", "200", "--rate", "50")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ecgs`` to learn from, ``mine`` to adapt to, ``asked``, and a ``run`` of a few steps."""
    root = tmp_path_factory.mktemp("signals")
    write_ecgs(root / "ecgs", (*KINDS, "left bundle branch block"), 6)
    write_ecgs(root / "mine", KINDS, 4, first=6)
    write_ecgs(root / "asked", KINDS, 3, first=20)
    words = ("train", "--source", root / "ecgs", *SHAPE, "--way", "2-3", "--shot", "1-2",
             "--query", "2", "--steps", "12", "--set", "encoder.options.width=8",
             "--set", "encoder.options.embed=mean", "--augment", "modality")  # fmt: skip
    ended = medmeta(*words, "--out", root / "run")
    assert ended.code == 0, ended
    return root


@pytest.fixture(scope="module")
def predictor(place: Path) -> Path:
    ended = medmeta("adapt", place / "mine", "--model", place / "run", "--out", place / "predictor")
    assert ended.code == 0, ended
    return place / "predictor"


def test_predicting_signals(place: Path, predictor: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    ended = medmeta("predict", predictor, place / "asked", "--out", out, "--json")
    assert ended.code == 0, ended
    told = ended.json()
    assert (told["images"], told["labelled_by_folder"], told["volumes"]) == (9, 9, 0)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == 9
    for row in rows:
        shares = [float(v) for name, v in row.items() if name.startswith("probability_")]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
    again = medmeta("predict", predictor, place / "mine", "--out", tmp_path / "b.csv", "--json")
    assert again.json()["learned_from"] == 12


def test_evaluating_a_run_and_an_untrained_learner(place: Path) -> None:
    words = ("--source", place / "mine", "--way", "3", "--shot", "2", "--query", "2",
             "--episodes", "10", "--json")  # fmt: skip
    ended = medmeta("evaluate", place / "run", *words)
    assert ended.code == 0, ended
    assert "ridge on raw pixels" in ended.json()[0]["baselines"]
    bare = medmeta("evaluate", "--learner", "ridge", "--encoder", "pixels", *SHAPE, *words)
    assert bare.code == 0, bare


def test_pretraining_on_signals(place: Path) -> None:
    words = ("pretrain", "--source", place / "ecgs", *SHAPE, "--way", "2", "--shot", "1",
             "--query", "2", "--steps", "4", "--batch-size", "8",
             "--set", "encoder.options.width=8", "--augment", "light")  # fmt: skip
    ended = medmeta(*words, "--out", place / "pretrained")
    assert ended.code == 0, ended


def test_a_report_shows_signals(place: Path, predictor: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    ended = medmeta("report", predictor, "--query", place / "asked", "--out", out)
    assert ended.code == 0, ended
    assert "200 samples" in out.read_text()


def test_a_run_of_signals_resumes(place: Path) -> None:
    words = ("train", "--source", place / "ecgs", *SHAPE, "--way", "2-3", "--shot", "1-2",
             "--query", "2", "--steps", "12", "--set", "encoder.options.width=8",
             "--set", "encoder.options.embed=mean", "--augment", "modality")  # fmt: skip
    ended = medmeta(*words, "--resume", "--out", place / "run")
    assert ended.code == 0, ended


def test_asking_a_signal_predictor_about_something_else(
    place: Path, predictor: Path, tmp_path: Path
) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "x.png")
    out = tmp_path / "a.csv"
    refused("predict", predictor, tmp_path / "x.png", "--out", out, says="is no signal")
    assert not out.exists()
    values = np.random.default_rng(0).normal(0, 1, (12, 400))
    for name, spoilt, says in (
        ("one", values[:, :1], "has 1 sample"),
        ("gap", np.where(np.arange(12)[:, None] == 8, np.nan, values), "no value at all in lead"),
    ):
        path = write_record(tmp_path / f"{name}.hea", spoilt, rate=50)
        refused("predict", predictor, path, "--out", out, says=says)
    path = write_record(tmp_path / "cut.hea", values, rate=50, n=1000)
    refused("predict", predictor, path, "--out", out, says="is cut short")
    path = write_record(tmp_path / "two.hea", values[:2], rate=50, leads=LEADS[:2])
    refused("predict", predictor, path, "--out", out, says="has no lead V1")
    path = write_table(tmp_path / "t.csv", values, rate=None)
    refused("predict", predictor, path, "--out", out, says="--csv-rate")


def test_what_does_not_go_with_signals(place: Path, tmp_path: Path) -> None:
    refused("train", "--source", place / "ecgs", "--out", tmp_path / "r", says="--samples")
    refused("train", "--source", place / "ecgs", *SHAPE, "--leads", "I,I", "--out", tmp_path / "r",
            says="name each lead once")  # fmt: skip
    refused("train", "--source", place / "ecgs", *SHAPE, "--depth", "4", "--out", tmp_path / "r",
            says="samples are of signals")  # fmt: skip
    refused("train", "--source", place / "ecgs", *SHAPE, "--encoder", "hog_colour", "--out",
            tmp_path / "r", says="takes images, not a signal")  # fmt: skip
    refused("evaluate", place / "run", "--source", place / "mine", "--shift", "quality",
            "--way", "2", "--shot", "1", "--query", "1", says="signals")  # fmt: skip
    refused("evaluate", place / "run", "--source", place / "mine", "--samples", "100",
            says="--samples that it was trained with")  # fmt: skip
    assert not (tmp_path / "r").exists()


def test_ecgs_are_drawn(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    ended = medmeta("data", "draw-ecg", place / "mine", "--out", out, "--scale", "2", "--json")
    assert ended.code == 0, ended
    assert ended.json()["pictures"] == 12
    made = sorted(p.relative_to(out) for p in out.rglob("*.png"))
    assert len(made) == 12
    assert {p.parts[-2] for p in made} == {kind.replace(" ", "-") for kind in KINDS}
    with Image.open(out / made[0]) as picture:
        assert picture.size == (540, 270)
    read = medmeta("data", "inspect", out / "mine", "--json")
    assert read.code == 0, read
    refused("data", "draw-ecg", place / "mine", "--out", out, says="is already there")
    write_record(tmp_path / "two.hea", np.zeros((2, 500)), leads=LEADS[:2])
    before = state(tmp_path)
    refused("data", "draw-ecg", tmp_path / "two.hea", "--out", tmp_path / "no", says="no lead V1")
    assert state(tmp_path) == before


def test_synthetic_ecgs_are_drawn(tmp_path: Path) -> None:
    out = tmp_path / "p"
    words = ("data", "draw-ecg", "synthetic:ecg", "--each", "1", "--scale", "1")
    assert medmeta(*words, "--out", out).code == 0
    assert len(list(out.rglob("*.png"))) == 16


def test_a_signal_beside_its_patients_record(place: Path, tmp_path: Path) -> None:
    rows = ["path,label,age"]
    files = sorted(p for p in (place / "ecgs").rglob("*") if p.suffix in (".hea", ".csv"))
    rows += [f"{p.relative_to(place)},{p.parent.name},{40 + i}" for i, p in enumerate(files)]
    (place / "records.csv").write_text("\n".join(rows) + "\n")
    words = ("train", "--source", place / "records.csv", *SHAPE, "--record", "age", "--way", "2",
             "--shot", "1", "--query", "1", "--steps", "3", "--validation", "none")  # fmt: skip
    ended = medmeta(*words, "--out", tmp_path / "run")
    assert ended.code == 0, ended
