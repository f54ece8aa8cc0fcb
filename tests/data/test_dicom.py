"""DICOM files gathered into scans: order, geometry, identifiers, and what is refused."""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medmeta.data.dicom import age_band, dicom_values, looks_like_dicom, scan_dicom
from medmeta.data.scan import Scan
from tests.data.dicom_files import FACING_UP, FRONTAL, ct_slices, dicom

SALT = b"0" * 32
GREY = np.arange(24, dtype=np.uint16).reshape(4, 6)


def scans_of(folder: Path, *, salt: bytes = SALT) -> tuple[list[Scan], list[str]]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    scans, problems = scan_dicom(files, root=folder, salt=salt)
    return scans, [f"{p.severity}: {p.where}: {p.what}" for p in problems]


def test_slices_are_ordered_by_where_they_lie_not_by_name_or_number(tmp_path: Path) -> None:
    ct_slices(tmp_path / "ct", [5.0, -2.5, 2.5, 0.0])
    (scan,), problems = scans_of(tmp_path)
    assert problems == []
    assert (scan.n_slices, scan.shape, scan.modality) == (4, (4, 6), "CT")
    assert scan.spacing == (2.5, 0.5, 0.7)
    assert [dicom_values(scan, i)[0, 0] for i in range(4)] == [0, 1, 2, 3]
    assert scan.problems == ()


@pytest.mark.parametrize(
    ("heights", "said"),
    [
        ([0, 1, 2, 4, 5], "1 slice seem to be missing"),
        ([0, 1, 2, 5, 6, 7], "2 slices seem to be missing"),
        ([0, 1, 2.4, 3, 4], "lie unevenly, 0.6 to 1.4 mm apart"),
        ([0, 1, 1, 2], "1 of its slices lie where another does"),
    ],
)
def test_gaps_are_said_and_nothing_is_resampled(
    heights: list[float], said: str, tmp_path: Path
) -> None:
    ct_slices(tmp_path, [float(h) for h in heights])
    (scan,), _ = scans_of(tmp_path)
    assert scan.n_slices == len(heights)
    assert any(said in problem.what for problem in scan.problems)


def test_orientations_are_taken_apart(tmp_path: Path) -> None:
    ct_slices(tmp_path / "a", [0.0, 1.0, 2.0], ImageOrientationPatient=FACING_UP)
    side = {"ImageOrientationPatient": FRONTAL, "ImagePositionPatient": [0, 7, 0]}
    dicom(tmp_path / "scout", GREY, **side)
    scans, problems = scans_of(tmp_path)
    assert sorted(scan.n_slices for scan in scans) == [1, 3]
    assert any("2 orientations" in problem for problem in problems)


def test_pictures_without_a_place_stand_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        dicom(tmp_path / name, GREY, Modality="DX")
    scans, _ = scans_of(tmp_path)
    assert [scan.n_slices for scan in scans] == [1, 1]
    assert scans[0].series == scans[1].series


@pytest.mark.parametrize("told", ["positions", "offsets"])
def test_frames_are_ordered_by_where_they_lie(told: str, tmp_path: Path) -> None:
    """A thickness of 5 mm says nothing of slices that lie 2.5 mm apart."""
    heights = [5.0, 0.0, 7.5, 2.5]
    frames = np.stack([GREY + int(height * 10) for height in heights])
    header = dicom(tmp_path / "it.dcm", frames, Modality="MR", SliceThickness=5)
    if told == "offsets":
        header.GridFrameOffsetVector = heights
    else:
        oriented, shared = Dataset(), Dataset()
        oriented.ImageOrientationPatient = FACING_UP
        shared.PlaneOrientationSequence = [oriented]
        header.SharedFunctionalGroupsSequence = [shared]
        each = [Dataset() for _ in heights]
        for groups, height in zip(each, heights, strict=True):
            position = Dataset()
            position.ImagePositionPatient = [1, 2, height]
            groups.PlanePositionSequence = [position]
        header.PerFrameFunctionalGroupsSequence = each
    header.save_as(tmp_path / "it.dcm")
    (scan,), _ = scans_of(tmp_path)
    assert (scan.n_slices, scan.spacing[0]) == (4, 2.5)
    assert [int(dicom_values(scan, i)[0, 0]) for i in range(4)] == [0, 25, 50, 75]
    assert scan.problems == ()


def test_frames_of_one_file_are_its_slices(tmp_path: Path) -> None:
    frames = np.stack([GREY, GREY + 100])
    dicom(tmp_path / "cine.dcm", frames, Modality="US", SpacingBetweenSlices=3)
    (scan,), _ = scans_of(tmp_path)
    assert (scan.n_slices, scan.spacing[0]) == (2, 3.0)
    assert np.array_equal(dicom_values(scan, 1), GREY + 100)


def test_nothing_that_names_a_person_is_in_a_scan(tmp_path: Path) -> None:
    ct_slices(tmp_path, [0.0, 1.0], InstitutionName="St Elsewhere", PatientSex="F",
              PatientAge="063Y", Manufacturer="ACME", ManufacturerModelName="One")  # fmt: skip
    (scan,), problems = scans_of(tmp_path)
    told = repr(scan) + repr(problems)
    for secret in ("Roe", "MRN-0815", "1961", "1.2.3.4", "Elsewhere", "063"):
        assert secret not in told
    assert scan.others == {"device": "ACME One", "sex": "F", "age_band": "60-69"}
    assert scan.patient is not None
    assert re.fullmatch("[0-9a-f]{12}", scan.patient)
    (other,), _ = scans_of(tmp_path, salt=b"1" * 32)
    assert other.patient != scan.patient


def test_a_copy_is_counted_once_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    dicom(tmp_path / "first", GREY, SOPInstanceUID="1.9", Modality="DX")
    shutil.copy(tmp_path / "first", tmp_path / "second")
    scans, problems = scans_of(tmp_path)
    assert [scan.where for scan in scans] == ["first"]
    assert problems == ["warning: second: is a copy of first; it is counted once."]
    dicom(tmp_path / "third", GREY + 1, SOPInstanceUID="1.9", Modality="DX")
    scans, problems = scans_of(tmp_path)
    assert scans == []
    named = {"first": "third", "second": "third", "third": "first"}
    assert problems == [
        f"error: {one}: has the image identifier of {other} and other content; keep the one that "
        "is right."
        for one, other in named.items()
    ]


@pytest.mark.parametrize(
    ("elements", "says"),
    [
        ({"Modality": "SR", "Rows": None}, "a structured report"),
        ({"SOPClassUID": "1.2.840.10008.1.3.10"}, "DICOMDIR"),
        ({"Rows": None, "Columns": None}, "holds no picture"),
        ({"SamplesPerPixel": 2}, "2 samples to a pixel"),
        ({"NumberOfFrames": 2_000_000}, "2000000 frames"),
    ],
)
def test_what_is_no_picture_is_refused_by_what_it_is(
    elements: dict[str, Any], says: str, tmp_path: Path
) -> None:
    dicom(tmp_path / "it", GREY, **elements)
    scans, (problem,) = scans_of(tmp_path)
    assert scans == []
    assert problem.startswith("error: it: ")
    assert says in problem


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 128 + b"DICM" + b"\xff" * 300])
def test_damage_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "it.dcm").write_bytes(content)
    scans, problems = scans_of(tmp_path)
    assert scans == []
    assert problems[0].startswith("error: it.dcm: ")


def test_a_deflated_bomb_is_refused(tmp_path: Path) -> None:
    """30 MB of nothing, packed a thousand times tighter."""
    header = dicom(tmp_path / "it", np.zeros((3000, 5000), np.uint16), Modality="DX")
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(tmp_path / "it")
    assert (tmp_path / "it").stat().st_size < 100_000
    scans, problems = scans_of(tmp_path)
    assert scans == []
    assert problems == ["error: it: unpacks to more than 20 MB; it is damaged."]


def test_warnings_of_burnt_in_text_and_faces(tmp_path: Path) -> None:
    dicom(tmp_path / "a", GREY, Modality="US", SeriesInstanceUID="1.1")
    dicom(tmp_path / "b", GREY, Modality="DX", BurnedInAnnotation="YES", SeriesInstanceUID="1.2")
    head = {"BodyPartExamined": "HEAD", "SliceThickness": 1, "SeriesInstanceUID": "1.3"}
    dicom(tmp_path / "c", GREY, Modality="MR", **head)
    dicom(tmp_path / "d", GREY, Modality="US", BurnedInAnnotation="NO", SeriesInstanceUID="1.4")
    scans, _ = scans_of(tmp_path)
    said = {scan.where: " ".join(p.what for p in scan.problems) for scan in scans}
    assert "may have text burnt" in said["a"]
    assert "says that text is burnt" in said["b"]
    assert "face" in said["c"]
    assert said["d"] == ""


def test_dicom_is_known_by_its_content(tmp_path: Path) -> None:
    dicom(tmp_path / "IM0001", GREY)
    whole = (tmp_path / "IM0001").read_bytes()
    (tmp_path / "bare").write_bytes(whole[132 + 12 + 190 :])
    (tmp_path / "packed").write_bytes(gzip.compress(whole))
    (tmp_path / "note").write_text("to whom it may concern, a letter")
    (tmp_path / "x.dcm").write_bytes(b"?")
    known = {p.name for p in tmp_path.iterdir() if looks_like_dicom(p)}
    assert known >= {"IM0001", "packed", "x.dcm"}
    assert "note" not in known


@pytest.mark.parametrize(
    ("age", "band"), [("047Y", "40-49"), ("011M", "0-9"), ("095Y", "90+"), ("", ""), ("x", "")]
)
def test_ages_in_bands(age: str, band: str) -> None:
    assert age_band(age) == band
