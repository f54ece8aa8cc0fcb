"""What every command says of predictors that learned from more, or less, than flat pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.app._typed import folder, medmeta, refused


def records(place: Path, n: int = 12, more: float = 0.0) -> Path:
    """A table of patients without any file: two classes told apart by a number."""
    place.mkdir(parents=True)
    rows = [
        f"p{i},{'ill' if i % 2 else 'well'},{30 + 20 * (i % 2) + i / 10 + more}" for i in range(n)
    ]
    (place / "table.csv").write_text("\n".join(["patient,label,crp", *rows]) + "\n")
    return place / "table.csv"


def volumes(place: Path, n: int = 4) -> Path:
    random = np.random.default_rng(len(place.name))
    for kind, bright in (("a", 40), ("b", 160)):
        (place / kind).mkdir(parents=True)
        for number in range(n):
            values = random.normal(bright, 20, (16, 16, 6)).clip(0, 255).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), place / kind / f"{number}.nii.gz")
    return place


def test_records_alone_are_answered_suggested_and_reported(tmp_path: Path) -> None:
    table, asked = records(tmp_path / "mine"), records(tmp_path / "asked", n=6, more=0.05)
    made = medmeta("adapt", table, "--out", tmp_path / "p", "--budget", "0")
    assert made.code == 0, made
    told = medmeta("predict", tmp_path / "p", asked, "--out", tmp_path / "a.csv")
    assert told.code == 0, told
    with (tmp_path / "a.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == [f"row {n}" for n in range(2, 8)]
    assert "folders named by class" not in told.err
    page = ("--query", asked, "--out", tmp_path / "r.html")
    for words in (("suggest", tmp_path / "p", asked, "-n", "2"), ("report", tmp_path / "p", *page)):
        ended = medmeta(*words)
        assert ended.code == 0, ended


def test_volumes_to_label_next(tmp_path: Path) -> None:
    support, asked = volumes(tmp_path / "mine"), volumes(tmp_path / "others", n=2)
    made = medmeta("adapt", support, "--depth", "4", "--size", "16", "--channels", "1", "--learner",
                   "ridge", "--encoder", "pixels", "--out", tmp_path / "p")  # fmt: skip
    if made.code:
        made = medmeta("adapt", support, "--out", tmp_path / "p", "--budget", "0")
    assert made.code == 0, made
    ended = medmeta("suggest", tmp_path / "p", asked, "-n", "2", "--json")
    assert ended.code == 0, ended
    assert len(ended.json()["suggested"]) == 2


def test_of_values_it_is_said_that_there_is_no_estimate(tmp_path: Path) -> None:
    images = folder(tmp_path / "images", ("x",), 8)
    rows = [f"images/x/{p.name},{i}" for i, p in enumerate(sorted((images / "x").iterdir()))]
    (tmp_path / "v.csv").write_text("\n".join(["path,value", *rows]) + "\n")
    ended = medmeta("adapt", tmp_path / "v.csv", "--budget", "0", "--out", tmp_path / "p")
    assert ended.code == 0, ended
    assert "is not estimated for values" in ended.err
    refused("predict", tmp_path / "p", tmp_path / "v.csv", "--out", tmp_path / "a.csv",
            says="is a table of images")  # fmt: skip
    for words in (("models", "pack", tmp_path / "p", "--out", tmp_path / "q"),):
        refused(*words, says="is a predictor of 'medmeta adapt'")


@pytest.mark.parametrize("name", ["nosuchfolder"])
def test_what_is_not_there_is_no_run(name: str, tmp_path: Path) -> None:
    told = refused("report", tmp_path / name, "--query", tmp_path, "--out", tmp_path / "r.html",
                   says="nosuchfolder")  # fmt: skip
    assert "is a run" not in told
