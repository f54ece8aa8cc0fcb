"""What is said of pictures that a source has nearly twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from medmeta.data.duplicates import (
    NearDuplicates,
    nearly_in_both,
    unlinked_near_pairs,
    warnings_of,
)
from medmeta.data.inspection import inspect_source
from medmeta.data.near_duplicates import thumbnail
from medmeta.data.source import Source
from tests.app._typed import medmeta
from tests.data.test_near_duplicates import pictures


def hospital(folder: Path) -> Path:
    """Six pictures; 4 is 0 again, a little darker, of another label, split and patient.

    5 is 1 again, of the same label and split and of the same patient.
    """
    images = pictures(4)
    images += [(images[0] * 0.9).astype(np.uint8), (images[1] * 0.8).astype(np.uint8)]
    rows = ["a,p0,train", "b,p1,train", "a,p2,train", "b,p3,test", "b,p4,test", "b,p1,train"]
    lines = ["path,label,patient,split"]
    for number, (image, row) in enumerate(zip(images, rows, strict=True)):
        Image.fromarray(image).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{row}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def test_inspection_tells_near_duplicates_across_labels_splits_and_patients(tmp_path: Path) -> None:
    found = inspect_source(hospital(tmp_path))
    near = found.near_duplicates
    assert (near.pairs, near.across_classes, near.across_splits, near.between_patients) == (
        2, 1, 1, 1,
    )  # fmt: skip
    assert near.examples[0][:2] == ("0.png", "4.png")
    said = [p.what for p in found.problems]
    assert "nearly identical pictures under different labels: 1." in said
    assert "nearly identical pictures in different splits: 1." in said
    assert any("of different patients: 1" in text for text in said)


def test_the_command_shows_them_and_what_two_sources_share(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other" / "c").mkdir(parents=True)
    table = hospital(tmp_path / "one")
    smaller = Image.fromarray(pictures(4)[2]).resize((40, 48))
    smaller.save(tmp_path / "other" / "c" / "0.png")
    Image.fromarray(pictures(1, seed=9)[0]).save(tmp_path / "other" / "c" / "1.png")
    shown = medmeta("data", "inspect", table, tmp_path / "other")
    assert "Nearly identical pictures" in shown.out
    assert "1 pictures of" in " ".join(shown.out.split())
    told = medmeta("data", "inspect", table, tmp_path / "other", "--json").json()
    assert [one["in_other_sources"] for one in told] == [{}, {str(table): 1}]
    assert "looks" not in told[0]


def test_what_is_in_both_counts_identical_and_nearly_identical_pictures() -> None:
    images = pictures(5)
    small = np.stack([thumbnail(p) for p in images])
    hashes = np.arange(5, dtype=np.uint64)
    second = small[[0, 0, 3]], np.array([0, 90, 91], np.uint64)
    assert nearly_in_both((small[:2], hashes[:2]), second) == 2


def test_pairs_that_a_patient_links_are_no_danger() -> None:
    images = pictures(4)
    darker = [(image * 0.9).astype(np.uint8) for image in images[:2]]
    pixels = np.stack([*images, *darker])[:, None]
    patients = ["p", None, "q", "r", "p", None]
    source = Source.from_arrays("s", pixels, list("aabbab"), patients=patients)
    small = np.stack([thumbnail(p) for p in pixels])
    assert unlinked_near_pairs(source, small).tolist() == [[1, 5]]


def test_what_is_said_where_not_all_were_counted_or_none_looked_for() -> None:
    part = NearDuplicates(9, 4, 0, 2, (), all_found=False)
    assert list(warnings_of(part)) == [
        "nearly identical pictures under different labels: at least 4.",
        "nearly identical pictures of different patients: at least 2; is it one?",
    ]
    (said,) = warnings_of(NearDuplicates(0, 0, 0, 0, (), looked=False))
    assert "too many pictures to look" in said
