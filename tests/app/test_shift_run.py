"""``medmeta evaluate --shift``, ``--split`` and ``--standardise``, all the way from a manifest."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app._typed import medmeta, refused

Copy = Callable[[Path], Path]
FEW = ("--shot", "1", "--way", "2", "--query", "2", "--episodes", "6")
SITES = ("north", "south", "Dr. Müller's practice")


def table(root: Path, *, n: int = 90, seed: int = 0) -> Path:
    """Three classes by brightness at three sites, of which the second is darker; two images each.

    Patients are called by names that must not be found anywhere. 4 images are of a tiny fourth.
    """
    root.mkdir(parents=True)
    rows = []
    for i in range(n):
        kind, site = i % 3, (i // 3) % 3
        noise = np.random.default_rng([seed, i]).integers(-25, 26, (32, 32))
        level = (60 + 70 * kind + noise) * (0.5 if site == 1 else 1)
        Image.fromarray(level.clip(0, 255).astype(np.uint8)).save(root / f"{i}.png")
        name = "tiny" if i < 4 else SITES[site]
        split = "train" if i < 60 else "test"
        device = ("GE", "ACME")[i // 18 % 2]
        patient = f"ZAPHOD-{i // 18}-{kind}-{site}"
        rows.append((f"{i}.png", "abc"[kind], patient, name, device, split, f"Zaphod {i}"))
    header = ("path", "label", "patient", "site", "device", "split", "patient name")
    with (root / "table.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([header, *rows])
    return root / "table.csv"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("shift") / "hospital")


@pytest.fixture
def own_run(run: Path, copied: Copy) -> Path:
    own = copied(run)
    shutil.rmtree(own / "evaluations", ignore_errors=True)
    return own


def test_a_site_is_left_out_in_turn_and_the_figures_are_kept(
    own_run: Path, hospital: Path, tmp_path: Path
) -> None:
    words = ("evaluate", own_run, "--source", hospital, "--shift", "site", "device", *FEW)
    shown = medmeta(*words, "--out", tmp_path / "shift.json")
    assert shown.code == 0, shown
    assert "inside" in shown.out
    assert "site tiny is left out: " in " ".join(shown.err.split())
    by_site, by_device = json.loads((tmp_path / "shift.json").read_text())
    assert [g["name"] for g in by_site["groups"]] == sorted(SITES)
    assert set(by_site["left_out"]) == {"tiny"}
    assert [g["name"] for g in by_device["groups"]] == ["ACME", "GE"]
    for group in by_site["groups"]:
        gap = group["outside"]["mean"] - group["inside"]["mean"]
        assert group["difference"]["mean"] == pytest.approx(gap)
        assert group["difference"]["tasks"] == 6
    assert by_site["difference"]["tasks"] == 18
    (folder,) = (own_run / "shifts").glob("hospital-by-site-*")
    assert json.loads((folder / "summary.json").read_text()) == by_site
    with (folder / "records.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 18
    north = [line for line in lines if line["group"] == "north"]
    inside = next(g["inside"]["mean"] for g in by_site["groups"] if g["name"] == "north")
    assert np.mean([float(line["inside"]) for line in north]) == pytest.approx(inside)
    page = tmp_path / "report.html"
    assert medmeta("report", own_run, "--out", page).code == 0
    text = " ".join(page.read_text().split())
    assert "Images from elsewhere" in text
    assert "Dr. Müller&#39;s practice" in text
    assert "tiny is left out" in text


def test_quality_of_the_query_is_lowered_step_by_step(
    own_run: Path, hospital: Path, tmp_path: Path
) -> None:
    words = ("evaluate", own_run, "--source", hospital, "--shift", "quality", *FEW, "--json")
    told = medmeta(*words)
    assert told.code == 0, told
    (row,) = told.json()
    assert row["kind"] == "unknown"
    faults = ["noise", "blur", "compression", "exposure", "contrast"]
    named = [(w["distortion"], w["severity"]) for w in row["worsened"]]
    assert named == [(fault, severity) for fault in faults for severity in range(1, 6)]
    assert medmeta(*words).json() == [row]  # the same noise again
    shown = medmeta(*words[:-1])
    assert "quality of the query" in " ".join(shown.out.split())
    page = tmp_path / "report.html"
    assert medmeta("report", own_run, "--out", page).code == 0
    assert page.read_text().count("<polyline") >= 5


def test_a_predictors_report_has_its_runs_shifts(
    own_run: Path, hospital: Path, workplace: Path, tmp_path: Path
) -> None:
    assert medmeta("evaluate", own_run, "--source", hospital, "--shift", "site", *FEW).code == 0
    out = tmp_path / "predictor"
    assert medmeta("adapt", workplace / "mine", "--model", own_run, "--out", out).code == 0
    page = tmp_path / "report.html"
    assert medmeta("report", out, "--run", own_run, "--out", page).code == 0
    assert "Images from elsewhere" in page.read_text()


def test_what_is_no_group_is_refused(run: Path, hospital: Path, workplace: Path) -> None:
    words = ("evaluate", run, "--source", hospital, *FEW, "--shift")
    refused(*words, "patient", says="already drawn apart by patient")
    refused(*words, "planet", says=("no column of that name", "site, split, device"))
    plain = ("evaluate", run, "--source", workplace / "mine", *FEW, "--shift", "site")
    refused(*plain, says="columns to group by: none")


def test_only_the_split_that_is_named_is_used(own_run: Path, hospital: Path) -> None:
    words = ("evaluate", own_run, "--source", hospital, *FEW, "--json")
    (row,) = medmeta(*words, "--split", "test").json()
    assert "Only its split test is measured on: 30 images." in row["notes"]
    assert any("are also in its other splits" in note for note in row["notes"])
    assert row["protocol"]["split"] == "test"
    refused(*words[:-1], "--split", "val", says="has no split 'val'; there is test, train")


def test_a_run_follows_a_split_and_says_so(hospital: Path, tmp_path: Path) -> None:
    words = ("train", "--source", hospital, "--set", "encoder.options.width=8", "--size", "16",
             "--query", "2", "--way", "2", "--shot", "1", "--steps", "2")  # fmt: skip
    done = medmeta(*words, "--split", "train", "--out", tmp_path / "run")
    assert done.code == 0, done
    said = " ".join(done.err.split())
    assert "only its split train is used, 60 of 90 images" in said
    (card,) = (tmp_path / "run").glob("model-*/card.json")
    told = json.loads(card.read_text())
    assert told["protocol"]["split"] == "train"
    assert sum(s["images"] for s in (*told["sources"], *told["validated_on"])) == 60
    all_of_it = medmeta(*words, "--out", tmp_path / "whole")
    assert "column of splits (test, train) is not followed" in " ".join(all_of_it.err.split())


def test_grey_levels_brought_together_from_training_to_prediction(
    hospital: Path, tmp_path: Path
) -> None:
    words = ("train", "--source", hospital, "--set", "encoder.options.width=8", "--size", "16",
             "--query", "2", "--way", "2", "--shot", "1", "--steps", "2")  # fmt: skip
    run, out = tmp_path / "run", tmp_path / "predictor"
    assert medmeta(*words, "--standardise", "site", "--out", run).code == 0
    (card,) = run.glob("model-*/card.json")
    trained = json.loads(card.read_text())["standardise"]
    assert trained["column"] == "site"
    assert "north" not in card.read_text()
    evaluated = ("evaluate", run, "--source", table(tmp_path / "other", seed=1), *FEW, "--json")
    (plain,) = medmeta(*evaluated).json()
    assert any("brought together by site, and these are not" in note for note in plain["notes"])
    adapted = ("adapt", hospital, "--model", run, "--standardise", "site", "--out", out)
    assert medmeta(*adapted).code == 0
    kept = json.loads((out / "card.json").read_text())["standardise"]
    assert kept["reference"] == trained["reference"]
    assert set(kept["groups"]) == {*SITES, "tiny"}
    answers = ("predict", out, hospital.parent / "50.png", "--out", tmp_path / "answers.csv")
    refused(*answers, says="say of which the images are, --group one of")
    refused(*answers, "--group", "east", says=("the support had no image of it", "Adapt again"))
    assert medmeta(*answers, "--group", SITES[(50 // 3) % 3], "--json").json()["learned_from"] == 1
    assert medmeta(*answers, "--group", SITES[(50 // 3 + 1) % 3], "--json").json()[
        "learned_from"
    ] == 0  # fmt: skip
    page = tmp_path / "report.html"
    asked = ("report", out, "--query", hospital.parent / "50.png", "--out", page)
    refused(*asked, says="--group one of")
    assert medmeta(*asked, "--group", "south").code == 0
    assert "brought together by site" in page.read_text()


def test_a_plain_predictor_knows_no_groups(
    predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    words = ("predict", predictor, workplace / "asked", "--out", tmp_path / "a.csv")
    refused(*words, "--group", "north", says="takes grey levels as they are")


def test_no_patient_of_a_manifest_reaches_anything_that_is_written(
    hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the patient column nor a column of names; in CSV and as an npz."""
    monkeypatch.setenv("MEDMETA_CACHE", str(tmp_path / "written" / "cache"))
    images = np.stack([np.asarray(Image.open(hospital.parent / f"{i}.png")) for i in range(90)])
    np.savez(
        tmp_path / "archive.npz", images=images, labels=np.arange(90) % 3,
        class_names=np.array(list("abc")), devices=np.array(["GE", "ACME"] * 45),
        patient_ids=np.array([f"ZAPHOD-{i // 2}" for i in range(90)]),
    )  # fmt: skip
    for number, source in enumerate((hospital, tmp_path / "archive.npz")):
        run, out = tmp_path / "written" / f"run{number}", tmp_path / "written" / f"p{number}"
        words = ("train", "--source", source, "--set", "encoder.options.width=8", "--size", "16",
                 "--query", "2", "--way", "2", "--shot", "1", "--steps", "2")  # fmt: skip
        column = ("site", "device")[number]
        other = table(tmp_path / f"other{number}", seed=1)
        for command in (
            (*words, "--standardise", column, "--out", run),
            ("evaluate", run, "--source", other, *FEW),
            ("evaluate", run, "--source", other, *FEW, "--shift", "site", "quality"),
            ("adapt", source, "--model", run, "--standardise", column, "--out", out),
            ("report", out, "--run", run, "--out", tmp_path / "written" / f"r{number}.html"),
        ):
            done = medmeta(*command)
            assert done.code == 0, done
            assert "zaphod" not in (done.out + done.err).casefold()
    read = [path for path in (tmp_path / "written").rglob("*") if path.is_file()]
    assert len(read) > 15
    for path in read:
        assert b"zaphod" not in path.read_bytes().lower(), path


def test_unknown_patients_are_said_and_repeated_in_the_report(
    own_run: Path, workplace: Path, tmp_path: Path
) -> None:
    words = ("evaluate", own_run, "--source", workplace / "mine", *FEW)
    assert "Patients are not known" in medmeta(*words).err
    (row,) = medmeta(*words, "--json").json()
    assert row["patients_known"] is False
    page = tmp_path / "report.html"
    assert medmeta("report", own_run, "--out", page).code == 0
    text = " ".join(page.read_text().split())
    assert "patients are not known: one may be among labelled and query images" in text
    assert "Patients of the training images are not known (trained)" in text


def test_nearly_identical_pictures_are_said(own_run: Path, tmp_path: Path) -> None:
    source = table(tmp_path / "copies")
    for i in (80, 83):
        darker = np.asarray(Image.open(source.parent / f"{i - 27}.png")) * 0.95
        Image.fromarray(darker.astype(np.uint8)).save(source.parent / f"{i}.png")
    (row,) = medmeta("evaluate", own_run, "--source", source, *FEW, "--json").json()
    assert any(note.startswith("2 pairs of pictures are nearly identical") for note in row["notes"])
