"""Columns beside the usual ones: which are kept, and which never."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmeta.data.archive import read_archive
from medmeta.data.further_columns import MOST_COLUMNS, MOST_NAMES, further_columns, further_names
from medmeta.data.manifest import read_manifest
from medmeta.errors import DataError


def write_manifest(folder: Path, header: str, *rows: str) -> Path:
    for number in range(len(rows)):
        Image.new("L", (4, 4), number).save(folder / f"{number}.png")
    lines = [header, *(f"{number}.png,{row}" for number, row in enumerate(rows))]
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_any_further_column_is_found_by_its_name(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "path,label,Device,sex,site", "a,GE,F,n", "b,,M,s", "a,ACME,,n")
    index = read_manifest(path)
    assert index.column("device").texts() == ["GE", None, "ACME"]
    assert index.column("sex").texts() == ["F", "M", None]
    assert index.column("site").texts() == ["n", "s", "n"]
    assert set(index.others) == {"device", "sex"}
    assert index.take(np.array([2, 0])).column("device").texts() == ["ACME", "GE"]


def test_what_is_said_of_a_person_is_not_kept(tmp_path: Path) -> None:
    header = "path,label,Patient Name,MRN,study-date,accession,birth_date,device"
    path = write_manifest(tmp_path, header, "a,Doe,1,2020,7,1950,GE", "b,Roe,2,2021,8,1951,GE")
    assert set(read_manifest(path).others) == {"device"}


def test_rows_that_are_left_out_do_not_shift_the_column(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "path,label,device", "a,one", ",two", "b,three")
    index = read_manifest(path)
    assert index.column("device").texts() == ["one", "three"]


def test_the_number_of_columns_and_of_entries_is_bounded() -> None:
    header = [f"column{n}" for n in range(MOST_COLUMNS + 5)]
    assert further_names(header, ()) == header[:MOST_COLUMNS]
    assert further_names(["", "a", "a", "label"], ("label",)) == []
    many = [{"code": str(n), "few": "x", "long": "y" * 500} for n in range(MOST_NAMES + 1)]
    assert set(further_columns(["code", "few", "long", "none"], many)) == {"few"}
    assert set(further_columns(["code"], many[:-1])) == {"code"}


def test_parquet_has_further_columns_too(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra parquet")
    from pyarrow import parquet

    Image.new("L", (4, 4)).save(tmp_path / "0.png")
    columns = {"path": ["0.png"], "label": ["a"], "age": [63.0], "name": ["Doe"]}
    parquet.write_table(pa.table(columns), tmp_path / "table.parquet")
    index = read_manifest(tmp_path / "table.parquet")
    assert index.column("age").texts() == ["63"]
    assert set(index.others) == {"age"}


def test_an_npz_may_name_devices_and_sex(tmp_path: Path) -> None:
    images = np.zeros((3, 4, 4), np.uint8)
    held = {"images": images, "labels": np.array([0, 1, 0]), "class_names": np.array(["a", "b"])}
    np.savez(tmp_path / "s.npz", **held, devices=np.array(["GE", "", "ACME"]), sex=np.array("F"))
    index = read_archive(tmp_path / "s.npz").index
    assert index.column("device").texts() == ["GE", None, "ACME"]
    assert index.column("sex").texts() == ["F"] * 3
    np.savez(tmp_path / "t.npz", **held, devices=np.array(["GE", "ACME"]))
    with pytest.raises(DataError, match="devices must be 3 texts"):
        read_archive(tmp_path / "t.npz")
