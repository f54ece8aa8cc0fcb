"""Records and modalities that cannot be used, or only in part: what the commands say."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app._typed import medmeta, refused

FEW = ("--way", "2", "--shot", "2", "--query", "2", "--steps", "2", "--validation", "none",
       "--channels", "1", "--size", "16", "--set",
       "encoder.options.image.options.width=8")  # fmt: skip


def table(trained: Path, name: str, **changes: str) -> Path:
    """A manifest as ``good.csv``, with some columns the same in all rows."""
    path = trained / name
    with (trained / "good.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([{**row, **changes} for row in rows])
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and a predictor of two modalities, age and sex of the 16 patients of ``good.csv``."""
    root, random = tmp_path_factory.mktemp("clinic"), np.random.default_rng(0)
    lines = ["label,patient,age,sex,t1,flair"]
    for i in range(16):
        lines.append(f"{'ab'[i % 2]},p{i},{40 + i},{'FM'[i // 2 % 2]},{i}-t1.png,{i}-flair.png")
        for name in ("t1", "flair"):
            pixels = random.integers(0, 99, (16, 16)) + 120 * (i % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(root / f"{i}-{name}.png")
    source = root / "good.csv"
    source.write_text("\n".join(lines) + "\n")
    words = ("--modalities", "t1,flair", "--record", "age,sex", *FEW)
    ended = medmeta("train", "--source", source, *words, "--out", root / "run")
    assert ended.code == 0, ended
    words = ("adapt", source, "--model", root / "run", "--no-estimate", "--out", root / "predictor")
    assert medmeta(*words).code == 0
    return root


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"flair": "", "t1": ""}, "row 2: has no file in any of t1, flair."),
        ({"age": "", "sex": ""}, "not one patient has an entry in age, sex"),
        ({"flair": "gone.png"}, "row 2: flair: there is no such file"),
    ],
)
@pytest.mark.parametrize("command", ["train", "adapt", "predict", "evaluate"])
def test_what_no_patient_has(
    trained: Path, tmp_path: Path, command: str, changes: dict[str, str], says: str
) -> None:
    source, out = table(trained, "asked.csv", **changes), tmp_path / "out"
    more = ("--modalities", "t1,flair", "--record", "age,sex", *FEW, "--out", out)
    measured = ("--shot", "1", "--query", "1", "--episodes", "2")
    words: dict[str, tuple[object, ...]] = {
        "train": ("train", "--source", source, *more),
        "adapt": ("adapt", source, "--model", trained / "run", "--out", out),
        "predict": ("predict", trained / "predictor", source, "--out", out.with_suffix(".csv")),
        "evaluate": ("evaluate", trained / "run", "--source", source, *measured),
    }
    if command == "train" and "age" in changes:
        says = "--record age: no source has an entry in a column of that name"
    refused(*words[command], says=says)
    assert list(tmp_path.iterdir()) == []


def test_a_modality_that_no_one_has_is_masked_when_adapting(trained: Path, tmp_path: Path) -> None:
    source = table(trained, "without.csv", flair="")
    words = ("adapt", source, "--model", trained / "run", "--out", tmp_path / "p", "--no-estimate")
    ended = medmeta(*words)
    assert ended.code == 0, ended
    assert "lack a modality, which is masked: flair (16)" in ended.err.replace("\n", " ")
    words = ("train", "--source", source, "--modalities", "t1,flair", *FEW, "--out", tmp_path / "r")
    refused(*words, says="no row of any source has a file of flair")


def test_what_no_labelled_patient_shows_is_said(trained: Path, tmp_path: Path) -> None:
    women = table(trained, "women.csv", sex="F", age="")
    words = ("adapt", women, "--model", trained / "run", "--out", tmp_path / "p", "--no-estimate")
    ended = medmeta(*words)
    assert ended.code == 0, ended
    assert "age: not known of any patient." in ended.err.replace("\n", " ")
    asked = ("predict", tmp_path / "p", trained / "good.csv", "--out", tmp_path / "a.csv")
    notes = medmeta(*asked, "--json").json()["notes"]
    assert "age: not known of any labelled patient, and not used." in notes
    assert any(note.startswith("sex: no labelled patient has M") for note in notes)
