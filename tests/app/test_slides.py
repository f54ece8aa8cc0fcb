"""Slides from end to end on the command line, and what is refused there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.app._typed import medmeta, refused
from tests.data.slide_files import on_glass, stained, write_pyramid

CASES = {
    "benign": (220, 130, 170),
    "malignant": (110, 60, 150),
    "necrosis": (235, 190, 120),
    "stroma": (150, 200, 160),
}
SMALL = ("--size", "16", "--way", "2-3", "--shot", "1", "--query", "1", "--steps", "10",
         "--set", "encoder.options.width=8")  # fmt: skip


def write_cases(folder: Path, each: int, *, first: int = 0) -> Path:
    for kind, colour in CASES.items():
        for number in range(first, first + each):
            piece = stained(96, 128, colour, seed=1000 + number)
            slide = on_glass(192, 224, piece, y=32, x=64)
            write_pyramid(folder / kind / f"case{number}.tif", slide, mpp=0.5, levels=2)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("slides")
    write_cases(root / "slides", 3)
    write_cases(root / "mine", 3, first=10)
    write_cases(root / "asked", 2, first=20)
    return root


@pytest.mark.parametrize(
    "how",
    [
        ("--slices", "4"),  # answers of tiles are averaged
        ("--depth", "4", "--encoder", "slicewise"),  # embeddings of tiles are pooled, by attention
    ],
)
def test_from_slides_to_answers(place: Path, tmp_path: Path, how: tuple[str, ...]) -> None:
    small = tuple(SMALL) if how[0] == "--slices" else (
        *SMALL[:-1], "encoder.options.image.options.width=8")  # fmt: skip
    words = ("train", "--source", place / "slides", "--mpp", "0.5", *how, *small,
             "--validation", "none")  # fmt: skip
    ended = medmeta(*words, "--out", tmp_path / "run")
    assert ended.code == 0, ended
    measured = medmeta("evaluate", tmp_path / "run", "--source", place / "mine", "--way", "2",
                       "--shot", "1", "--query", "1", "--episodes", "5", "--json")  # fmt: skip
    assert measured.code == 0, measured
    predictor, out = tmp_path / "predictor", tmp_path / "answers.csv"
    ended = medmeta("adapt", place / "mine", "--model", tmp_path / "run", "--out", predictor)
    assert ended.code == 0, ended
    ended = medmeta("predict", predictor, place / "asked", "--out", out, "--json")
    assert ended.code == 0, ended
    told = ended.json()
    assert (told["images"], told["labelled_by_folder"], told["volumes"]) == (8, 8, 8)
    assert told["right"] >= 7  # classes of one colour each
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {row["slices"] for row in rows} == ({"4"} if how[0] == "--slices" else {"1"})
    plain = medmeta("predict", predictor, place / "asked", "--out", tmp_path / "again.csv")
    assert "of these are slides" in plain.err
    report = medmeta("report", predictor, "--query", place / "asked", "--out", tmp_path / "r.html")
    assert report.code == 0, report


def test_what_slides_are_refused_for(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("train", "--source", place / "slides", *SMALL, "--out", out)
    refused(*words, says="a slide, of which --mpp takes tiles")
    refused(*words, "--mpp", "0.1", says="coarser than the 0.1")
    refused(*words, "--mpp", "-1", says="--mpp")
    refused(*words, "--mpp", "0.5", "--tile", "64", says="not by both")
    refused(*words, "--mpp", "0.5", "--tissue", "1", "--overlap", "2", says="--overlap")
    mute = tmp_path / "mute"
    for kind in ("a", "b"):
        write_pyramid(mute / kind / "1.tif", stained(64, 64, (200, 100, 150)), mpp=None)
    refused("train", "--source", mute, *SMALL, "--mpp", "0.5", "--out", out,
            says=("a/1.tif: does not say its microns per pixel", "--slide-mpp"))  # fmt: skip
    glass = tmp_path / "glass"
    for kind in ("a", "b"):
        write_pyramid(glass / kind / "1.tif", np.full((64, 64, 3), 250, np.uint8))
    refused("train", "--source", glass, *SMALL, "--mpp", "0.5", "--out", out,
            says="shows no tissue")  # fmt: skip
    cut = place / "slides" / "benign" / "case0.tif"
    (tmp_path / "cut" / "a").mkdir(parents=True)
    (tmp_path / "cut" / "b").mkdir()
    for kind in ("a", "b"):
        (tmp_path / "cut" / kind / "1.tif").write_bytes(cut.read_bytes()[:3000])
    refused("train", "--source", tmp_path / "cut", *SMALL, "--mpp", "0.5", "--out", out,
            says="1.tif:")  # fmt: skip
    assert not out.exists()
