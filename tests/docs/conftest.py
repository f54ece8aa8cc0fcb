"""The folder in which the documentation's snippets run: small synthetic images of several kinds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app._hospital import Hospital
from tests.data import masked_volumes
from tests.data.ecg_files import write_ecgs
from tests.data.masked_files import write_pairs
from tests.data.slide_files import on_glass, stained, write_pyramid

SIDE = 64


def draw(kind: int, seed: int) -> Image.Image:
    """A grey picture of noise with ``kind`` + 1 bright stripes."""
    chance = np.random.default_rng([kind, seed])
    across = np.linspace(0, 2 * np.pi * (kind + 1), SIDE) + chance.uniform(0, 2 * np.pi)
    stripes = 110 + 70 * np.sin(across)[None, :] * np.ones((SIDE, 1))
    noisy = stripes + chance.normal(0, 15, (SIDE, SIDE))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def write_classes(folder: Path, names: list[str], each: int, *, first_seed: int) -> None:
    """One folder per class with ``each`` images, and beside the folders a manifest of them all."""
    rows = []
    for kind, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            path = folder / name / f"{name}_{number:02}.png"
            draw(kind, first_seed + number).save(path)
            rows.append((path.relative_to(folder.parent), name, f"{name}-{number // 2}"))
    with (folder.parent / f"{folder.name}.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("path", "label", "patient"), *rows])


def write_sites(folder: Path) -> None:
    """A manifest of three classes at two sites, with patients (2 images each), sexes and splits."""
    lines = ["path,label,patient,site,sex,split"]
    folder.mkdir()
    for number in range(96):
        kind, site = number % 3, number // 3 % 2
        picture = draw(kind, 5000 + number)
        dimmed = picture.point([int(level * (0.6 if site else 1)) for level in range(256)])
        dimmed.save(folder / f"{number}.png")
        label = ("normal", "oedema", "nodule")[kind]
        facts = (f"p{number // 12}-{kind}-{site}", ("north", "south")[site], "FM"[number // 12 % 2])
        split = "train" if number < 60 else "test"
        lines.append(",".join((f"{folder.name}/{number}.png", label, *facts, split)))
    (folder.parent / f"{folder.name}.csv").write_text("\n".join(lines) + "\n")


def write_volumes(folder: Path, names: list[str]) -> None:
    """One folder per class with three NIfTI volumes of noise."""
    nibabel = pytest.importorskip("nibabel", reason="the extra nifti")
    for kind, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            values = np.random.default_rng([kind, number]).normal(100 * kind, 30, (20, 24, 16))
            image = nibabel.Nifti1Image(values.astype(np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
            nibabel.save(image, folder / name / f"{number}.nii.gz")


def write_slides(folder: Path, names: list[str], each: int) -> None:
    """One folder per class of slides: a piece of tissue of the class's colour on glass."""
    for kind, name in enumerate(names):
        for number in range(each):
            colour = ((215, 120, 165), (120, 70, 160))[kind]
            piece = stained(128, 160, colour, seed=len(name) + number)
            slide = on_glass(256, 256, piece, y=64, x=32)
            write_pyramid(folder / name / f"{number}.tif", slide)


def write_patients(root: Path) -> None:
    """Two tables of patients: a picture before and after contrast, age, sex, CRP and history."""
    folder = root / "my_patients"
    folder.mkdir()
    history = ("cough for a week", "fever and cough", "fall from a ladder", "no complaints")
    header = "plain,contrast,label,patient,age,sex,crp,history"
    lines: list[list[str]] = [[], []]
    for number in range(40):
        kind = number % 2
        draw(kind, 7000 + number).save(folder / f"{number}-plain.png")
        draw(kind, 8000 + number).save(folder / f"{number}-contrast.png")
        contrast = "" if number % 8 == 3 else f"{folder.name}/{number}-contrast.png"
        label = ("quiet", "active")[kind]
        facts = [f"{30 + number}", "FM"[number // 2 % 2], f"{5 + 60 * kind + number % 7}"]
        facts.append(history[number % 4])
        row = [f"{folder.name}/{number}-plain.png", contrast, label, f"p{number}", *facts]
        lines[number >= 24].append(",".join(row))
    for name, listed in (("my_patients", lines[0]), ("other_patients", lines[1])):
        (root / f"{name}.csv").write_text("\n".join([header, *listed]) + "\n")


def write_series(root: Path) -> None:
    """CT series in folders that say nothing, with a table of labels; and others without."""
    hospital = Hospital(np.random.default_rng(0).integers(0, 256, (7, 32, 32), dtype=np.uint8))
    lines = ["series,label"]
    for number in range(6):
        label, level = (("normal", -800), ("nodule", -300))[number % 2]
        folder = root / "my_ct" / f"scan{number}"
        made = hospital.series(folder, label, level, patient=number // 2, named=False)
        lines.append(f"{made.series},{label}")
    (root / "my_ct" / "labels.csv").write_text("\n".join(lines) + "\n")
    for number in range(2):
        folder = root / "new_ct" / f"scan{number}"
        hospital.series(folder, "", -500, patient=70 + number, named=False)


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of somebody who follows the documentation.

    ======================  ==========================================================
    ``my_images/``          3 classes (normal, oedema, nodule) of 8 PNG, 64 × 64
    ``my_images.csv``       the same as a manifest: path, label, patient (2 images each)
    ``new_images/``         6 PNG without classes
    ``my_sites.csv``        3 classes of 32 images (``my_sites/``): patient, site, sex, split
    ``my_volumes/``         2 classes of 3 NIfTI volumes
    ``my_ct/``              6 CT series of 3 patients, with ``labels.csv`` by series
    ``new_ct/``             2 CT series
    ``my_ecgs/``            2 classes of 6 ECGs, records and tables
    ``new_ecgs/``           2 ECGs
    ``my_slides/``          2 classes of 3 small slides at 0.5 µm
    ``new_slides/``         2 slides
    ``my_patients.csv``     24 patients: two pictures each, age, sex, CRP, history
    ``other_patients.csv``  16 others, likewise
    ``my_masks/``           5 PNG with masks of one structure, 64 × 64
    ``training_masks/``     12 others
    ``my_labelled_volumes/``  3 NIfTI volumes with label maps
    ``training_images/``    8 classes of 12 PNG, to meta-train on; ``training_images.csv`` too
    ======================  ==========================================================

    No picture is in two of them: the leak check would find it.
    """
    write_classes(tmp_path / "my_images", ["normal", "oedema", "nodule"], 8, first_seed=0)
    findings = [f"finding_{n}" for n in range(8)]
    write_classes(tmp_path / "training_images", findings, 12, first_seed=1000)
    (tmp_path / "new_images").mkdir()
    for number in range(6):
        draw(number % 3, 100 + number).save(tmp_path / "new_images" / f"new_{number}.png")
    write_sites(tmp_path / "my_sites")
    write_ecgs(tmp_path / "my_ecgs", ["sinus rhythm", "atrial fibrillation"], 6)
    write_ecgs(tmp_path / "new_ecgs", ["sinus rhythm"], 2, first=40)
    write_slides(tmp_path / "my_slides", ["benign", "malignant"], 3)
    write_slides(tmp_path / "new_slides", ["unknown"], 2)
    write_volumes(tmp_path / "my_volumes", ["healthy", "atrophy"])
    write_series(tmp_path)
    write_patients(tmp_path)
    write_pairs(tmp_path / "my_masks", n=5, size=SIDE, seed=1)
    write_pairs(tmp_path / "training_masks", n=12, size=SIDE, seed=2)
    masked_volumes.write_volumes(tmp_path / "my_labelled_volumes", n=3)
    monkeypatch.chdir(tmp_path)
    return tmp_path
