"""Volumes, modalities and records, from the command line to the answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app._typed import medmeta, refused

FEW = ("--way", "2", "--shot", "1-2", "--query", "2", "--steps", "4", "--validation", "none")
NARROW = ("--set", "encoder.options.image.options.width=8", "--size", "16", "--channels", "1")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``patients.csv``: two modalities, a label, age and sex of 16 patients; ``new.csv``: of 4.

    ``others.csv``: as the first, of 16 others.
    """
    root = tmp_path_factory.mktemp("clinic")
    random = np.random.default_rng(0)
    rows = []
    for i in range(36):
        names = [f"scan{i}-{m}.png" for m in ("t1", "flair")]
        for name in names:
            pixels = random.integers(0, 99, (16, 16)) + 120 * (i % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name)
        flair = "" if i % 5 == 1 else names[1]
        rows.append([names[0], flair, "ab"[i % 2], f"Doe{i}", 40 + i, "FM"[i // 2 % 2]])
    header = ["t1", "flair", "label", "patient", "age", "sex"]
    tables = (("patients", rows[:16], 0), ("new", rows[16:20], 1), ("others", rows[20:], 0))
    for name, part, dropped in tables:
        with (root / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([h for h in header if not (dropped and h == "label")])
            writer.writerows([c for c, h in zip(row, header, strict=True)
                              if not (dropped and h == "label")] for row in part)  # fmt: skip
    return root


def test_modalities_and_record_from_training_to_the_report(clinic: Path, tmp_path: Path) -> None:
    source, run, predictor = clinic / "patients.csv", tmp_path / "run", tmp_path / "predictor"
    words = ("--source", source, "--modalities", "t1,flair", "--record", "age,sex", *NARROW, *FEW)
    ended = medmeta("train", *words, "--out", run)
    assert ended.code == 0, ended
    assert "lack a modality, which is masked: flair" in ended.err
    ended = medmeta("adapt", source, "--model", run, "--out", predictor)
    assert ended.code == 0, ended
    table = tmp_path / "answers.csv"
    ended = medmeta("predict", predictor, clinic / "new.csv", "--out", table)
    assert ended.code == 0, ended
    with table.open() as file:
        answers = list(csv.DictReader(file))
    assert [row["path"] for row in answers] == [f"scan{i}-t1.png" for i in range(16, 20)]
    ended = medmeta("report", predictor, "--query", source, "--out", tmp_path / "r.html")
    assert ended.code == 0, ended
    kept = b"".join(p.read_bytes() for p in predictor.rglob("*") if p.is_file())
    assert b"Doe" not in kept
    assert b"scan" not in kept
    facts = medmeta("inspect", predictor).out
    assert "t1, flair" in facts
    assert "age (number), sex (F, M)" in facts


def test_what_each_part_is_worth(clinic: Path, tmp_path: Path) -> None:
    source, run = clinic / "patients.csv", tmp_path / "run"
    words = ("--source", source, "--modalities", "t1,flair", "--record", "age", *NARROW, *FEW)
    assert medmeta("train", *words, "--task-by", "sex", "--out", run).code == 0
    asked = ("--shot", "1", "--query", "2", "--episodes", "6", "--shift", "parts", "--json")
    found = medmeta("evaluate", run, "--source", clinic / "others.csv", *asked).json()
    told = [worse["distortion"] for worse in found[0]["worsened"]]
    assert told == [f"without {part}" for part in ("image", "record", "t1", "flair")]
    assert all(0 <= worse["worse"]["mean"] <= 1 for worse in found[0]["worsened"])
    plain = medmeta("evaluate", run, "--source", clinic / "others.csv", *asked[:-1])
    assert "by what is known of a patient" in plain.out.replace("\n", " ")
    assert medmeta("report", run, "--out", tmp_path / "r.html").code == 0
    page = (tmp_path / "r.html").read_text()
    assert "accuracy by what is known of a patient" in page
    assert ">without record<" in page
    assert "accuracy by severity" not in page


def test_a_record_alone(clinic: Path, tmp_path: Path) -> None:
    source, run, predictor = clinic / "patients.csv", tmp_path / "run", tmp_path / "predictor"
    words = ("--source", source, "--record", "age,sex", "--use", "record", *FEW)
    assert medmeta("train", *words, "--out", run).code == 0
    assert medmeta("adapt", source, "--model", run, "--out", predictor).code == 0
    table = tmp_path / "answers.csv"
    ended = medmeta("predict", predictor, clinic / "new.csv", "--out", table)
    assert ended.code == 0, ended
    assert len(table.read_text().splitlines()) == 5
    unseen = tmp_path / "unseen.csv"
    unseen.write_text("age,sex\n51,X\n")
    ended = medmeta("predict", predictor, unseen, "--out", tmp_path / "unseen_answers.csv")
    assert ended.code == 0, ended
    assert "sex: X is none that was learned from" in ended.err


def test_free_text_by_an_encoder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fevers.py").write_text(
        "def counts():\n    return lambda texts: [[t.count('fever'), len(t)] for t in texts]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    source, run, predictor = tmp_path / "notes.csv", tmp_path / "run", tmp_path / "predictor"
    said = ("no complaint of any kind today, Mr Doe", "fever and again fever since Sunday, Mr Doe")
    rows = [f'"{said[i % 2]} {i}",{"ab"[i % 2]}' for i in range(16)]
    source.write_text("\n".join(["note,label", *rows]) + "\n")
    words = ("train", "--source", source, "--record", "note", "--use", "record", *FEW, "--out", run)
    encoder = ("--text-encoder", "external:fevers:counts")
    refused(*words, *encoder, says="only with --allow-external")
    bare = ("train", "--source", source, *FEW, "--out", run, *encoder)
    refused(*bare, says="--text-encoder goes with --record")
    ended = medmeta(*words, *encoder, "--allow-external")
    assert ended.code == 0, ended
    refused("adapt", source, "--model", run, "--out", predictor, says="only with --allow-external")
    words = ("adapt", source, "--model", run, "--out", predictor, "--allow-external")
    assert medmeta(*words).code == 0
    asked = ("predict", predictor, source, "--out", tmp_path / "answers.csv")
    refused(*asked, says="only with --allow-external")
    told = medmeta(*asked, "--allow-external", "--json")
    assert told.json()["right"] == 16
    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("p*r/*") if p.is_file())
    assert b"Doe" not in kept
    assert b"fever and" not in kept


def test_what_cannot_be_done_is_refused(clinic: Path, tmp_path: Path) -> None:
    source, out = clinic / "patients.csv", tmp_path / "run"
    train = ("train", "--source", source, *FEW, "--out", out)
    refused(*train, "--record", "name", says="tells who the patient is")
    refused(*train, "--record", "lactate", "--use", "record", says="no source has an entry")
    refused(*train, "--use", "record", says="--use record goes with --record")
    refused(*train, "--modalities", "pet,ct", says="no column of a modality (pet, ct)")
    refused(*train, "--modalities", "t1,t1", says="named twice")
    refused(*train, "--modalities", "t1,flair", "--task-by", "smoker", says="--task-by smoker")
    refused(*train, "--modalities", "t1,flair", "--depth", "16", says="is a picture, and whole")


def test_volumes_are_learned_whole(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    cubes = random.integers(0, 99, (16, 16, 16, 16), dtype=np.uint8)
    labels = np.arange(16)[:, None] % 2
    cubes[labels[:, 0] == 1] += 120
    np.savez(tmp_path / "cubes.npz", train_images=cubes, train_labels=labels)
    words = ("--source", tmp_path / "cubes.npz", "--depth", "16", "--size", "16", *FEW)
    narrow = ("--channels", "1", "--set", "encoder.options.width=8", "--augment", "light")
    ended = medmeta("train", *words, *narrow, "--out", tmp_path / "run")
    assert ended.code == 0, ended
    ended = medmeta("adapt", tmp_path / "cubes.npz", "--model", tmp_path / "run",
                    "--out", tmp_path / "predictor")  # fmt: skip
    assert ended.code == 0, ended
    assert "Volumes are taken whole" in ended.err


def test_what_was_left_out_stands_in_the_predictor_s_card(
    workplace: Path, run: Path, tmp_path: Path
) -> None:
    support = tmp_path / "support"
    for name in ("new", "old"):
        (support / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((32, 32), 40 * i + (9 if name == "new" else 100), dtype=np.uint8)
            Image.fromarray(pixels).save(support / name / f"Doe{i}.png")
    (support / "new" / "JohnDoe.png").write_bytes(b"no picture at all")
    out = tmp_path / "predictor"
    ended = medmeta("adapt", support, "--model", run, "--skip-bad", "--out", out)
    assert ended.code == 0, ended
    card = json.loads((out / "card.json").read_text())
    (left,) = card["left_out"]
    assert left["where"] == "new/4"
    assert "Doe" not in json.dumps(card)
