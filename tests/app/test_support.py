"""A person's labelled images, and what must be said of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from medmeta.app.support import conflicting_pictures, open_support
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from tests.app._typed import folder, medmeta

SIZE = Preprocessing(size=32)


def test_counts_and_notes(tmp_path: Path) -> None:
    support = open_support(folder(tmp_path / "s", ("a", "b"), 3), SIZE)
    assert support.counts() == {"a": 3, "b": 3}
    assert len(support.notes) == 1
    assert "Patients are not known" in support.notes[0]


def test_known_patients_need_no_word(tmp_path: Path) -> None:
    root = folder(tmp_path / "s", ("a", "b"), 2)
    rows = [f"{k}/JaneDoe-{i}-{j}.png,{k},p{i}{j}" for i, k in enumerate("ab") for j in range(2)]
    (root / "m.csv").write_text("\n".join(["path,label,patient", *rows]))
    assert open_support(root / "m.csv", SIZE).notes == ()


def test_repeated_and_conflicting_pictures(tmp_path: Path, run: Path) -> None:
    root = folder(tmp_path / "s", ("a", "b", "c"), 3)
    shutil.copy(root / "a" / "JaneDoe-0-0.png", root / "a" / "again.png")
    shutil.copy(root / "a" / "JaneDoe-0-1.png", root / "c" / "other.png")
    ended = medmeta("adapt", root, "--model", run, "--out", tmp_path / "p", "--json")
    assert ended.code == 0
    notes = ended.json()["notes"]
    assert "warning: an identical picture lies in the classes a, c" in notes[0]
    assert notes[1].startswith("2 pictures are repeated")
    assert ended.json()["classes"] == {"a": 4, "b": 3, "c": 4}


def test_conflicts_are_counted_by_their_classes() -> None:
    pixels = np.arange(6, dtype=np.uint8)[[0, 0, 1, 1, 2, 2, 3]].reshape(7, 1, 1, 1)
    source = Source.from_arrays("s", np.tile(pixels, (1, 1, 16, 16)), list("abababa"))
    assert conflicting_pictures(source) == [
        "warning: 3 identical pictures lie in the classes a, b; one of the labels must be wrong."
    ]
    values = Source.from_arrays("s", source.pixels, values=np.zeros(7, np.float32))
    assert conflicting_pictures(values) == []
