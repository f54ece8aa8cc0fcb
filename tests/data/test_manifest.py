import sys

import numpy as np
import pytest
from PIL import Image

from medmeta.data.listing import scan
from medmeta.data.manifest import read_manifest, row_errors
from medmeta.errors import ManifestError, MissingExtraError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "study"
    (root / "images").mkdir(parents=True)
    for name in "abc":
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(root / "images" / f"{name}.png")
    (tmp_path / "outside.png").write_bytes((root / "images/a.png").read_bytes())
    return root


def write(folder, text, name="list.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def test_all_columns(folder):
    path = write(
        folder,
        " Path ,LABEL,patient,Site,modality,split,age\n"
        "images/a.png,sick,p1,Oslo,CT,train,7\n"
        'images/b.png,"well, mostly",,,,,\n',
    )
    index = read_manifest(path)
    assert index.labels is not None
    assert index.labels.texts() == ["sick", "well, mostly"]
    assert index.patients.texts() == ["p1", None]
    assert index.sites.texts() == ["Oslo", None]
    assert index.modalities.texts() == ["CT", None]
    assert index.splits.texts() == ["train", None]
    assert [p.name for p in index.paths] == ["a.png", "b.png"]
    assert (index.name, index.problems) == ("study", ())


def test_values(folder):
    index = read_manifest(write(folder, "path,value\nimages/a.png,1.5\nimages/b.png,-2e1\n"))
    assert index.labels is None
    assert index.values is not None
    assert index.values.tolist() == [1.5, -20.0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_mark_and_line_ends(folder, encoding, end):
    path = write(folder, f"path,label{end}images/a.png,größe{end}", encoding=encoding)
    assert read_manifest(path).class_names == ("größe",)


def test_tabs_in_tsv(folder):
    path = write(folder, "path\tlabel\nimages/a.png\tx, y\n", "list.tsv")
    assert read_manifest(path).class_names == ("x, y",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path;label\nimages/a.png;x\n", "semicolons.*commas"),
        ("path\tlabel\nimages/a.png\tx\n", r"tabs.*commas.*\.tsv"),
        ("file,label\nimages/a.png,x\n", "no column path .*; there is file, label"),
        ("path,class\nimages/a.png,x\n", "no column label .* or value"),
        ("path,label,value\nimages/a.png,x,1\n", "both a label and a value"),
        ("path,label,Label\nimages/a.png,x,1\n", "column label twice"),
        ("", "row 1 must be the header"),
        ('path,label\n"images/a.png,x\n', "no table"),
    ],
)
def test_tables_that_cannot_be_used(folder, text, said):
    with pytest.raises(ManifestError, match=said):
        read_manifest(write(folder, text))


def test_other_encodings_are_named(folder):
    path = write(folder, "path,label\nimages/a.png,größe\n", encoding="latin-1")
    with pytest.raises(ManifestError, match="UTF-8"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("images/a.png,", "no label"),
        ("images/a.png,NaN", "no label"),
        ("images/a.png", "no label"),
        (",x", "no path"),
        ("images/none.png,x", "no such file"),
        ("images,x", "is not that of a file"),
        ("../outside.png,x", "outside the manifest's folder"),
        ("images/../../outside.png,x", "outside the manifest's folder"),
        ("images/link.png,x", "outside the manifest's folder"),
        ("/outside.png,x", "outside the manifest's folder"),
        ("images/a.png,x,y,z", "4 fields"),
        ("images/a\0.png,x", "cannot be used"),
    ],
)
def test_rows_that_cannot_be_used(folder, row, said):
    (folder / "images/link.png").symlink_to(folder.parent / "outside.png")
    path = write(folder, f"path,label\nimages/b.png,y\n\n{row}\n")
    index = read_manifest(path)
    assert [p.where for p in index.problems] == ["row 4"]
    with pytest.raises(ManifestError, match=said):
        scan(path)
    assert len(scan(path, skip_bad=True).index) == 1


@pytest.mark.parametrize("value", ["", "nan", "inf", "1,5", "many", "1_0", "1e99"])
def test_values_that_are_no_numbers(folder, value):
    path = write(folder, f'path,value\nimages/a.png,"{value}"\n')
    assert [p.where for p in read_manifest(path).problems] == ["row 2"]


def test_absolute_paths_inside_are_taken(folder):
    index = read_manifest(write(folder, f"path,label\n{folder / 'images/a.png'},x\n"))
    assert index.paths == ((folder / "images/a.png").resolve(),)


def test_one_file_with_two_labels_is_left_out(folder):
    path = write(folder, "path,label\nimages/a.png,x\nimages/b.png,x\nimages/./a.png,y\n")
    index = read_manifest(path)
    assert [p.name for p in index.paths] == ["b.png"]
    assert "row 2 too, with another label" in index.problems[0].what


@pytest.mark.parametrize("name", ["patient", "site", "split"])
def test_one_file_that_is_said_to_be_of_two_is_left_out(folder, name):
    rows = f"path,label,{name}\nimages/a.png,x,one\nimages/b.png,x,one\nimages/a.png,x,two\n"
    index = read_manifest(write(folder, rows))
    assert [p.name for p in index.paths] == ["b.png"]
    assert f"row 2 too, with another {name}" in index.problems[0].what


def test_who_is_not_known_is_no_patient(folder):
    rows = "path,label,patient,site\nimages/a.png,NA,nan,NA\nimages/b.png,y,N/A,north\n"
    index = read_manifest(write(folder, rows))
    assert index.patients.texts() == [None, None]
    assert index.sites.texts() == [None, "north"]
    assert index.class_names == ("NA", "y")  # of a class it may be the name


def test_one_file_said_twice_is_counted_once(folder):
    index = read_manifest(write(folder, "path,label\nimages/a.png,x\nimages/a.png,x\n"))
    assert len(index) == 1
    assert [p.severity for p in index.problems] == ["warning"]


def test_ten_rows_are_named_and_the_rest_counted(folder):
    lines = "".join(f"images/{i}.png,x\n" for i in range(13))
    path = write(folder, "path,label\n" + lines)
    said = str(row_errors(path, read_manifest(path).problems))
    assert "13 rows" in said
    assert "row 11:" in said
    assert "row 12:" not in said
    assert "and 3 more" in said


def test_parquet_reads_like_csv(folder):
    pa = pytest.importorskip("pyarrow", reason="Parquet is an optional extra")
    from pyarrow import parquet

    table = pa.table(
        {
            "Path": ["images/a.png", "images/b.png", "images/c.png"],
            "label": [1.0, None, 2.0],
            "patient": [7, 7, None],
            "site": [2.0230101e16 + 4, 2.0230101e16 + 8, 2.5],
            "heavy": [[0] * 3] * 3,
        }
    )
    parquet.write_table(table, folder / "list.parquet")
    index = read_manifest(folder / "list.parquet")
    assert index.class_names == ("1", "2")
    assert index.patients.texts() == ["7", None]
    assert index.sites.texts() == ["20230101000000004", "2.5"]
    assert [p.where for p in index.problems] == ["row 3"]


def test_damaged_parquet(folder):
    pytest.importorskip("pyarrow", reason="Parquet is an optional extra")
    with pytest.raises(ManifestError, match="damaged"):
        read_manifest(write(folder, "PAR1 nothing", "list.parquet"))


def test_parquet_without_its_library_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"medmeta\[parquet\]"):
        read_manifest(write(folder, "", "list.parquet"))
