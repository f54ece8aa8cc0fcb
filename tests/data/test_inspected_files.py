"""Every file of a tree ends as read, or refused with a reason."""

import json
import resource

import nibabel
import numpy as np
import pytest
from PIL import Image

from medmeta.data.inspection import inspect_source
from medmeta.data.nifti import nifti_values, scan_nifti
from medmeta.data.scan import Scan
from tests.app._hospital import N_SLICES, Hospital
from tests.app._typed import medmeta
from tests.data.dicom_files import dicom

NOISE = np.random.default_rng(0).integers(0, 256, (9, 24, 24), dtype=np.uint8)


@pytest.fixture
def tree(tmp_path):
    """One of everything, in no order."""
    root = tmp_path / "tree"
    (root / "deep" / "er").mkdir(parents=True)
    volume = nibabel.Nifti1Image(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), np.eye(4))
    nibabel.save(volume, root / "deep" / "v.nii.gz")
    nibabel.save(nibabel.Nifti1Pair(volume.dataobj, volume.affine), root / "pair.hdr")
    (root / "bad.nii").write_bytes((root / "pair.hdr").read_bytes()[:100])
    Image.fromarray(NOISE[0]).save(root / "deep" / "p.png")
    (root / "deep" / "notes.txt").write_text("nothing")
    (root / "x.mnc").write_bytes(b"CDF\1")
    (root / "empty.dcm").write_bytes(b"")
    Hospital(NOISE).series(root / "deep" / "er", "", 40, patient=1, named=False)
    return root


def test_every_file_is_told_of(tree):
    found = {file.path: file.to_dict() for file in inspect_source(tree).files}
    inside = {p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()}
    assert set(found) == inside
    assert all(file["read"] or file["reason"] for file in found.values())
    read = {path for path, file in found.items() if file["read"]}
    slices = {f"deep/er/image-{n}.dcm" for n in range(1, N_SLICES + 1)}
    assert read == {"deep/v.nii.gz", "pair.hdr", "pair.img", "deep/p.png"} | slices
    volume = found["deep/v.nii.gz"]
    assert volume["shape"] == [6, 5, 4]
    assert volume["spacing_mm"] == [1, 1, 1]
    one = found["deep/er/image-1.dcm"]
    assert (one["modality"], one["photometric"], one["shape"]) == ("CT", "MONOCHROME2", [24, 24])
    assert one["spacing_mm"] == [2.5, 0.75, 0.75]
    assert "MINC" in found["x.mnc"]["reason"]
    assert "cut short" in found["bad.nii"]["reason"]


def test_the_command_says_so_in_json_and_names_nobody(tree):
    ended = medmeta("data", "inspect", tree, tree / "deep" / "v.nii.gz", "--json")
    assert ended.code == 2  # for there are files that cannot be read
    whole, one = ended.json()
    assert whole["kind"] == "files"
    assert len(whole["files"]) == len([p for p in tree.rglob("*") if p.is_file()])
    assert [file["path"] for file in one["files"]] == ["v.nii.gz"]
    assert not any(text in ended.out + ended.err for text in ("Quagmire", "MRN-88", "Wexcombe"))


def test_class_folders_of_volumes(tmp_path):
    for name, level in (("a", 10), ("b", 500)):
        for number in range(2):
            values = np.random.default_rng(level + number).normal(level, 5, (8, 8, 4))
            path = tmp_path / name / f"{number}.nii"
            path.parent.mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), np.eye(4)), path)
    found = inspect_source(tmp_path)
    assert found.classes == {"a": 2, "b": 2}
    assert found.usable
    assert [file.path for file in found.files] == ["a/0.nii", "a/1.nii", "b/0.nii", "b/1.nii"]
    assert json.loads(json.dumps(found.to_dict()))["files"][0]["shape"] == [4, 8, 8]


def test_real_nifti_files_against_nibabel(shared_data):
    """The whole tree: read as nibabel reads it, or refused; within a gigabyte."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # other tests ran in this process
    root = shared_data / "nifti"
    files = {file.path: file for file in inspect_source(root).files}
    assert set(files) == {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    read = [file for file in files.values() if not file.reason]
    assert len(read) == 16
    for file in read:
        scan = scan_nifti(root / file.path, root=root)
        assert isinstance(scan, Scan)
        values = nibabel.as_closest_canonical(nibabel.load(root / file.path)).get_fdata()
        values = values[..., 0] if values.ndim == 4 else values
        for number in {0, scan.n_slices // 2, scan.n_slices - 1}:
            shown = values[:, :, number][::-1, ::-1].T
            assert np.array_equal(nifti_values(scan, [number])[0], shown, equal_nan=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # KB on Linux


def test_copies_and_contradictions_are_told_of_too(tmp_path):
    uids = {"DX": "1.8", "CR": "1.9"}
    for name, modality in (("a", "DX"), ("b", "DX"), ("c", "CR")):
        dicom(tmp_path / name, NOISE[0].astype(np.uint16), SOPInstanceUID=uids[modality],
              Modality=modality)  # fmt: skip
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes())
    dicom(tmp_path / "d", NOISE[1].astype(np.uint16), SOPInstanceUID=uids["CR"], Modality="CR")
    found = {file.path: file for file in inspect_source(tmp_path).files}
    assert sorted(found) == ["a", "b", "c", "d"]
    assert all(file.reason == "" for file in found.values())
    assert (found["a"].remark, "is a copy of a" in found["b"].remark) == ("", True)
    assert "identifier of d and other content" in found["c"].remark
