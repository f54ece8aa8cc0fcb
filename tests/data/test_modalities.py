"""Several modalities of one patient, by a manifest."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.data.beside import PRESENT, RECORD, check_modalities
from medmeta.data.preprocess import Preprocessing
from medmeta.data.records import RecordSchema
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.data.withheld import parts_of, without
from medmeta.errors import DataError, ManifestError

TWO = Preprocessing(size=16, channels=1, modalities=("t1", "flair"))


def _grey(path: Path, level: int) -> str:
    Image.new("L", (16, 16), level).save(path)
    return path.name


def _manifest(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "patients.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _rows(folder: Path, n: int = 4) -> list[dict[str, str]]:
    return [
        {
            "t1": _grey(folder / f"{i}-t1.png", 10 + i),
            "flair": "" if i == 1 else _grey(folder / f"{i}-flair.png", 100 + i),
            "label": "ab"[i % 2],
            "patient": f"p{i}",
            "age": str(50 + i) if i else "",
        }
        for i in range(n)
    ]


def _opened(path: Path, preprocessing: Preprocessing = TWO) -> Source:
    return open_source(path, preprocessing=preprocessing, cache=path.parent / "cache")


def test_modalities_are_channels_and_the_missing_is_black_and_said(tmp_path: Path) -> None:
    source = _opened(_manifest(tmp_path, _rows(tmp_path)))
    assert source.pixels.shape == (4, 2, 16, 16)
    found = source.gather(np.arange(4))[:, :, 8, 8].tolist()
    assert found == [[10, 100], [11, 0], [12, 102], [13, 103]]
    assert source.beside[PRESENT].tolist() == [[1, 1], [1, 0], [1, 1], [1, 1]]
    assert any("some lack a modality, which is masked: flair (1)" in p.what
               for p in source.index.problems)  # fmt: skip


def test_parts_of_a_source_keep_what_is_theirs(tmp_path: Path) -> None:
    record = RecordSchema.of(["age"], [{"age": ["50"]}])
    both = TWO.model_copy(update={"record": record})
    source = _opened(_manifest(tmp_path, _rows(tmp_path)), both)
    part = source.take(np.array([3, 1]))
    assert part.beside[RECORD].tolist() == [[53.0], [51.0]]
    assert part.beside[PRESENT].tolist() == [[1, 1], [1, 0]]
    assert parts_of(source, both.modalities) == ("image", "record", "t1", "flair")
    assert np.isnan(without(source, "record", both.modalities).beside[RECORD]).all()
    assert (without(source, "image", both.modalities).gather(np.arange(4)) == 128).all()
    left = without(source, "flair", both.modalities).beside[PRESENT]
    assert left.tolist() == [[1, 0]] * 4


def test_a_record_alone_needs_no_picture(tmp_path: Path) -> None:
    record = RecordSchema.of(["age"], [{"age": ["50"]}])
    alone = Preprocessing(record=record, use="record")
    rows = [{k: v for k, v in row.items() if k in ("label", "age")} for row in _rows(tmp_path)]
    source = _opened(_manifest(tmp_path, rows), alone)
    assert source.pixels.shape[1] == 0
    assert np.isnan(source.beside[RECORD][0]).all()
    assert len(np.unique(source.hashes)) == 4


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    rows[0] |= {"t1": "", "flair": ""}
    rows[2]["flair"] = "gone.png"
    with pytest.raises(ManifestError) as caught:
        _opened(_manifest(tmp_path, rows))
    assert "row 2: has no file in any of t1, flair." in str(caught.value)
    assert "row 4: flair: there is no such file" in str(caught.value)


def test_a_manifest_without_the_columns(tmp_path: Path) -> None:
    path = _manifest(tmp_path, [{"path": _grey(tmp_path / "x.png", 1), "label": "a"}])
    with pytest.raises(ManifestError, match=r"no column of a modality \(t1, flair\)"):
        _opened(path)


def test_a_modality_that_nobody_has(tmp_path: Path) -> None:
    rows = [{**row, "flair": ""} for row in _rows(tmp_path)]
    source = _opened(_manifest(tmp_path, rows))
    with pytest.raises(DataError, match="--modalities: no row of any source has a file of flair"):
        check_modalities([source], TWO.modalities)


def test_volumes_of_a_patient_lie_on_one_grid(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")

    def save(name: str, shape: tuple[int, ...], affine: np.ndarray) -> str:
        values = np.random.default_rng(0).integers(0, 99, shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / name)
        return name

    straight, moved = np.eye(4), np.eye(4)
    moved[:3, 3] = 7
    one = save("one.nii", (16, 16, 8), straight)
    same, other = save("same.nii", (16, 16, 8), straight), save("other.nii", (16, 16, 9), straight)
    away = save("away.nii", (16, 16, 8), moved)
    rows = [
        {"t1": one, "flair": name, "label": label}
        for name, label in ((same, "a"), (other, "b"), (away, "b"))
    ]
    with pytest.raises(ManifestError) as caught:
        _opened(_manifest(tmp_path, rows))
    assert "row 3: t1 and flair lie on different grids (8×16×16 and 9×16×16 voxels)" in str(
        caught.value
    )
    assert "row 4: t1 and flair lie in different places" in str(caught.value)
    assert "row 2" not in str(caught.value)
    told = TWO.model_copy(update={"spacing": "any", "depth": 4})
    assert _opened(_manifest(tmp_path, rows), told).pixels.shape == (3, 2, 4, 16, 16)
