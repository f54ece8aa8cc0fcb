"""Manifests that speak of DICOM series by what their headers say, or of folders and NIfTI files."""

import zipfile

import nibabel
import numpy as np
import pytest

from medmeta.data.listing import scan, survey
from medmeta.data.preprocess import Preprocessing
from medmeta.data.pseudonyms import pseudonym, user_salt
from medmeta.data.sources import open_source
from medmeta.errors import DataError, ManifestError
from tests.app._hospital import Hospital

NOISE = np.random.default_rng(0).integers(0, 256, (9, 24, 24), dtype=np.uint8)


@pytest.fixture
def tree(tmp_path):
    """Two patients with two series each, in folders that say nothing."""
    hospital = Hospital(NOISE)
    made = [
        hospital.series(
            tmp_path / "tree" / f"x{n}", "sick" if n < 2 else "well", 40, patient=n // 2, named=True
        )
        for n in range(4)
    ]
    return tmp_path / "tree", made


def write(root, key, rows):
    lines = [f"{key},label", *(f"{name},{label}" for name, label in rows)]
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root / "list.csv"


@pytest.mark.parametrize("key", ["series", "study", "patient"])
def test_rows_are_matched_to_headers(tree, key):
    root, made = tree
    names = dict.fromkeys((getattr(s, key), s.label) for s in made)
    index = survey(write(root, key, names)).index
    assert [p for p in index.problems if p.severity == "error"] == []
    assert len(index) == 4
    assert index.labels.texts() == ["sick", "sick", "well", "well"]
    salt = user_salt()
    assert index.patients.texts() == [pseudonym(s.patient, salt) for s in made]
    assert index.modalities.texts() == ["CT"] * 4
    assert set(index.column("sex").texts()) == {"F", "M"}
    assert not any(s.patient in repr(index.patients) for s in made)


def test_what_matches_nothing_is_named_by_row_and_file(tree):
    root, made = tree
    rows = [(s.series, s.label) for s in made[:3]]
    path = write(root, "series", [*rows, ("1.2.3.4", "well"), ("", "well")])
    index = survey(path).index
    told = {p.where: p.what for p in index.problems if p.severity == "error"}
    assert "of this series" in told.pop("row 5")
    assert "has no series" in told.pop("row 6")
    ((where, what),) = told.items()
    assert "x3" in where
    assert "no row of the manifest" in what
    assert not any("1.2.3.4" in p.where + p.what for p in index.problems)
    with pytest.raises(ManifestError, match="row 5"):
        scan(path)
    assert len(scan(path, skip_bad=True).index) == 3


def test_one_series_with_two_labels_is_refused(tree):
    root, made = tree
    rows = [(s.series, s.label) for s in made]
    index = survey(write(root, "series", [*rows, (made[0].series, "well")])).index
    errors = [p for p in index.problems if p.severity == "error"]
    assert [p.where for p in errors] == ["row 6"]
    assert "row 2 too" in errors[0].what
    assert len(index) == 3
    same = survey(write(root, "series", [*rows, rows[0]])).index
    assert len(same) == 4


def test_paths_may_be_of_series_folders_files_and_nifti(tree):
    root, made = tree
    nibabel.save(
        nibabel.Nifti1Image(np.arange(16 * 16 * 4, dtype=np.int16).reshape(16, 16, 4), np.eye(4)),
        root / "v.nii.gz",
    )
    one = next((root / "x3").iterdir())
    path = root / "list.csv"
    path.write_text(
        f"path,label,patient\nx0,sick,\nx3/{one.name},well,{made[3].patient}\nv.nii.gz,well,me\n"
    )
    index = survey(path).index
    assert [p for p in index.problems if p.severity == "error"] == []
    assert [s.n_slices for s in index.scans] == [4, 1, 4]
    salt = user_salt()
    assert index.patients.texts() == [
        pseudonym(made[0].patient, salt), pseudonym(made[3].patient, salt), pseudonym("me", salt),
    ]  # fmt: skip


def test_no_dicom_below_the_manifest(tmp_path):
    path = write(tmp_path, "series", [("1.2", "a"), ("1.3", "b")])
    with pytest.raises(ManifestError, match="no file below the manifest's folder"):
        scan(path)


@pytest.mark.parametrize("by_manifest", [True, False])
def test_zips_of_a_tree(tree, tmp_path, by_manifest):
    root, made = tree
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for s in made:
            for file in s.folder.iterdir():
                inside = s.folder.name if by_manifest else f"{s.label}/{s.folder.name}"
                archive.write(file, f"study/{inside}/{file.name}")
        if by_manifest:
            path = write(root, "series", [(s.series, s.label) for s in made])
            archive.write(path, "study/list.csv")
    wanted = Preprocessing(size=16, channels=1, slices=2)
    for _ in range(2):
        source = open_source(tmp_path / "export.zip", preprocessing=wanted, cache=tmp_path / "c")
    assert source.name == "export"
    assert source.index.labels.texts() == ["sick"] * 4 + ["well"] * 4
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_a_zip_that_climbs_out_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../../evil.dcm", b"x")
    with pytest.raises(DataError, match=r"bad\.zip"):
        survey(tmp_path / "bad.zip")
