"""NIfTI volumes learned from and asked about through the commands."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.app._typed import medmeta, refused


def volume(path: Path, level: int, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(level, 20, (20, 24, 12)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("volumes")
    for k, name in enumerate(("dark", "bright")):
        for i in range(3):
            volume(root / "mine" / name / f"{i}.nii.gz", 200 + 600 * k, 10 * k + i)
        volume(root / "asked" / name / "x.nii.gz", 200 + 600 * k, 50 + k)
    return root


@pytest.fixture(scope="module")
def volume_predictor(volumes: Path, run: Path) -> Path:
    """The run, which was trained on pictures, adapted to volumes of its own window and slices."""
    words = ("adapt", volumes / "mine", "--model", run, "--out", volumes / "predictor")
    ended = medmeta(*words, "--window", "500,1000", "--slices", "3", "--plane", "sagittal")
    assert ended.code == 0, ended
    return volumes / "predictor"


def test_the_predictor_keeps_how_volumes_are_read(volume_predictor: Path, run: Path) -> None:
    told = medmeta("inspect", volume_predictor, "--json").json()["preprocessing"]
    wanted = {"window": "500,1000", "slices": 3, "plane": "sagittal", "time_point": 1}
    assert told | wanted == told
    assert "3 slices" in " ".join(medmeta("inspect", volume_predictor).out.split())
    assert medmeta("inspect", run, "--json").json()["preprocessing"]["slices"] == 1


def test_volumes_are_answered_one_by_one(
    volumes: Path, volume_predictor: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.csv"
    ended = medmeta("predict", volume_predictor, volumes / "asked", "--out", out, "--json")
    assert ended.code == 0, ended
    told = ended.json()
    assert (told["images"], told["volumes"], told["slices_of_volumes"]) == (2, 2, 6)
    assert told["right"] == told["labelled_by_folder"] == 2
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows] == ["bright", "dark"]
    assert {row["slices"] for row in rows} == {"3"}
    for row in rows:
        shares = [float(v) for k, v in row.items() if k.startswith("probability")]
        assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_a_zip_is_asked_about_as_its_files_are(
    volumes: Path, volume_predictor: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "asked.zip", "w") as archive:
        for file in (volumes / "asked").rglob("*.nii.gz"):
            archive.write(file, file.relative_to(volumes / "asked"))
    out = tmp_path / "o.csv"
    ended = medmeta("predict", volume_predictor, tmp_path / "asked.zip", "--out", out, "--json")
    assert ended.json()["right"] == 2
    with out.open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert paths == [str(tmp_path / "asked.zip" / n / "x.nii.gz") for n in ("bright", "dark")]


def test_what_cannot_be_read_is_left_out_when_asked_to(
    volumes: Path, volume_predictor: Path, tmp_path: Path
) -> None:
    volume(tmp_path / "q" / "good.nii.gz", 200, 1)
    bad = volume(tmp_path / "q" / "bad.nii.gz", 200, 2)
    bad.write_bytes(bad.read_bytes()[:-500])
    words = ("predict", volume_predictor, tmp_path / "q", "--out", tmp_path / "o.csv")
    refused(*words, says=("1 of 2 images", f"{bad}: is cut short"))
    ended = medmeta(*words, "--skip-bad", "--json")
    assert [p["path"] for p in ended.json()["problems"]] == [str(bad)]
    assert ended.json()["images"] == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--window", "kidney"), "lung"),
        (("--slices", "0"), "--slices"),
        (("--plane", "oblique"), "--plane"),
        (("--time-point", "9"), "no number 9"),
    ],
)
def test_what_cannot_be_asked_for(
    words: tuple[str, ...], says: str, volumes: Path, run: Path, tmp_path: Path
) -> None:
    refused("adapt", volumes / "mine", "--model", run, "--out", tmp_path / "p", *words, says=says)
    assert not (tmp_path / "p").exists()


def test_left_out_files_are_listed_in_the_run_without_their_names(
    workplace: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        for i in range(6):
            volume(tmp_path / "set" / name / f"JaneDoe-{i}.nii.gz", 200, 50 * ord(name) + i)
    (tmp_path / "set" / "a" / "JaneDoe-2.nii.gz").write_bytes(b"")
    (tmp_path / "set" / "b" / "JaneDoe-x.txt").write_text("a note")
    words = ("train", "--source", tmp_path / "set", "--skip-bad", "--size", "16", "--way", "2",
             "--shot", "1", "--query", "1", "--steps", "2", "--validation", "none",
             "--set", "encoder.options.width=4")  # fmt: skip
    ended = medmeta(*words, "--out", tmp_path / "run", "--json")
    assert ended.code == 0, ended
    text = (tmp_path / "run" / "left_out.json").read_text()
    assert "JaneDoe" not in text
    listed = {(e["where"], e["why"].split()[1]) for e in json.loads(text)["left_out"]}
    assert listed == {("a/3", "empty"), ("b/7", "not")}
