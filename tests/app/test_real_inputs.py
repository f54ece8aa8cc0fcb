"""Real volumes, and real scans of two dates as modalities, through every command."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app._typed import Ended, medmeta

FEW = ("--way", "2", "--shot", "1", "--query", "1", "--steps", "3", "--validation", "none",
       "--channels", "1")  # fmt: skip
NARROW = ("--set", "encoder.options.width=8")
MEASURED = ("--shot", "1", "--query", "1", "--episodes", "4", "--json")
HEADS = {
    "trained/scan": ("open_ms_longitudinal/patient01_study1_FLAIR.nii.gz",
                     "nibabel/anatomical.nii"),
    "trained/label": ("open_ms_longitudinal/patient01_gt.nii.gz",
                      "open_ms_longitudinal/patient03_gt.nii.gz"),
    "asked/scan": ("open_ms_longitudinal/patient01_study2_FLAIR.nii.gz",
                   "nibabel/example4d.nii.gz"),
    "asked/label": ("open_ms_longitudinal/patient12_gt.nii.gz",
                    "open_ms_longitudinal/patient19_gt.nii.gz"),
}  # fmt: skip


def ran(*words: object) -> Ended:
    ended = medmeta(*words)
    assert ended.code == 0, ended
    return ended


@pytest.fixture(scope="module")
def heads(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads and label maps of heads as NIfTI, four to train on and four to ask about."""
    root = tmp_path_factory.mktemp("heads")
    for folder, names in HEADS.items():
        (root / folder).mkdir(parents=True)
        for name in names:
            shutil.copy(shared_data / "nifti" / name, root / folder)
    return root


@pytest.mark.parametrize(
    ("words", "slices"),
    [
        (("--slices", "3", "--size", "32"), 3),
        (("--depth", "16", "--size", "16", "--spacing", "any"), 1),
        (("--depth", "16", "--size", "16", "--spacing", "12"), 1),
        (("--depth", "8", "--size", "32", "--spacing", "any", "--encoder", "slicewise"), 1),
    ],
)
def test_volumes_by_slices_and_whole(
    heads: Path, tmp_path: Path, words: tuple[str, ...], slices: int
) -> None:
    run, predictor, table = tmp_path / "run", tmp_path / "predictor", tmp_path / "answers.csv"
    narrow = (
        NARROW if "slicewise" not in words else ("--set", "encoder.options.image.options.width=8")
    )
    ran("train", "--source", heads / "trained", *words, *FEW, *narrow, "--out", run)
    (measured,) = ran("evaluate", run, "--source", heads / "asked", *MEASURED).json()
    assert measured["excluded_as_seen"] == 0
    assert 0 <= measured["summary"]["accuracy"]["mean"] <= 1
    ran("adapt", heads / "trained", "--model", run, "--out", predictor)
    told = ran("predict", predictor, heads / "asked", "--out", table, "--json").json()
    assert (told["images"], told["volumes"]) == (4, 4)
    assert told["slices_of_volumes"] == 4 * slices
    assert told["right"] >= 3  # a label map is nearly all black, and a head is not
    with table.open(newline="") as file:
        assert {row["predicted"] for row in csv.DictReader(file)} == {"scan", "label"}


def test_volumes_of_different_voxels_are_no_whole_volumes_unless_told(
    heads: Path, tmp_path: Path
) -> None:
    words = ("--depth", "16", "--size", "16", *FEW, "--out", tmp_path / "run")
    ended = medmeta("train", "--source", heads / "trained", *words)
    assert ended.code == 2
    assert "voxels of different sizes" in ended.err.replace("\n", " ")


@pytest.fixture(scope="module")
def dates(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FLAIR slices of four patients at two dates; which of them show a lesion that has changed.

    ``patients.csv``: of two patients, one slice in five without its second date; ``others.csv``: of
    the other two, all without.
    """
    root = tmp_path_factory.mktemp("dates")
    with np.load(shared_data / "longitudinal" / "ms_flair.npz", allow_pickle=False) as archive:
        images, masks, patients = (archive[n] for n in ("images_t", "masks", "patient_ids"))
    changed = masks.reshape(len(masks), -1).any(1)
    tables: dict[str, list[list[str]]] = {"patients": [], "others": []}
    for number, patient in enumerate(sorted(set(patients.tolist()))):
        for name, there in (("changed", changed), ("same", ~changed)):
            for i in np.flatnonzero(there & (patients == patient))[::2][:6].tolist():
                files = [f"{i}-{date}.png" for date in ("first", "second")]
                for file, pixels in zip(files, images[i], strict=True):
                    Image.fromarray(pixels).save(root / file)
                second = "" if number > 1 or i % 5 == 0 else files[1]
                row = [files[0], second, name, patient]
                tables["patients" if number < 2 else "others"].append(row)
    for name, rows in tables.items():
        with (root / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["first", "second", "label", "patient"], *rows])
    return root


def test_two_dates_as_modalities_of_which_one_is_missing(dates: Path, tmp_path: Path) -> None:
    run, predictor, table = tmp_path / "run", tmp_path / "predictor", tmp_path / "answers.csv"
    narrow = ("--size", "32", *NARROW, "--modalities", "first,second")
    ended = ran("train", "--source", dates / "patients.csv", *narrow, *FEW, "--out", run)
    said = ended.err.replace("\n", " ")
    assert "lack a modality, which is masked: second (" in said
    (measured,) = ran("evaluate", run, "--source", dates / "others.csv", *MEASURED).json()
    assert 0 <= measured["summary"]["accuracy"]["mean"] <= 1
    assert any("second (24)" in note for note in measured["notes"]) or "second (24)" in said
    ran("adapt", dates / "patients.csv", "--model", run, "--out", predictor)
    told = ran("predict", predictor, dates / "others.csv", "--out", table, "--json").json()
    assert told["images"] == 24
    assert any("second (24)" in note for note in told["notes"])
    kept = b"".join(p.read_bytes() for p in predictor.rglob("*") if p.is_file())
    assert b"patient01" not in kept
