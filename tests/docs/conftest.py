"""The folder in which the documentation's snippets run: small synthetic images of several kinds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of somebody who follows the documentation.

    ======================  ==========================================================
    ``my_images/``          3 classes (normal, oedema, nodule) of 8 PNG, 64 × 64
    ``my_images.csv``       the same as a manifest: path, label, patient (2 images each)
    ``new_images/``         6 PNG without classes
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
    monkeypatch.chdir(tmp_path)
    return tmp_path
