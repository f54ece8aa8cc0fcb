"""Clean copies of DICOM files: no byte of what was said of a person, the pixels as they were."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("dicomanonymizer")

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from medmeta.data import deidentify as module  # noqa: E402
from medmeta.data.confidentiality import Cleaner  # noqa: E402
from medmeta.data.deidentify import Deidentified, deidentify  # noqa: E402
from medmeta.errors import DataError, SettingsError, StorageError  # noqa: E402
from tests.app._typed import state  # noqa: E402
from tests.data.dicom_files import dicom  # noqa: E402

SALT = b"s" * 32
PIXELS = np.arange(24, dtype=np.uint16).reshape(4, 6)
UIDS = {
    name: f"1.2.826.0.{number}.77.1234567"
    for number, name in enumerate(
        ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    )
}
SAID = {
    "PatientName": "Quill^Ottoline",
    "PatientID": "MRN-471142",
    "PatientBirthDate": "19431224",
    "PatientAge": "081Y",
    "PatientAddress": "12 Farthing Lane",
    "PatientComments": "sister of the mayor",
    "OtherPatientNames": "Ottilie^Quill",
    "IssuerOfPatientID": "Stmarys-ADT",
    "InstitutionName": "St Mary Infirmary",
    "InstitutionAddress": "Infirmary Road 5",
    "StationName": "CTROOM-7",
    "ReferringPhysicianName": "Grey^Basil",
    "PerformingPhysicianName": "Moss^Imogen",
    "OperatorsName": "Finch^Percy",
    "AccessionNumber": "ACC-998877",
    "StudyID": "ST-556677",
    "StudyDate": "20211103",
    "SeriesDate": "20211104",
    "AcquisitionDateTime": "20211105123456",
    "StudyTime": "101112.131415",
    "StudyDescription": "Chest Quill follow-up",
    "SeriesDescription": "seen by Dr Moss",
    "ProtocolName": "QuillProto",
    "DeviceSerialNumber": "SN-3141592",
    "ImageComments": "spoke to Ottoline",
    "AdditionalPatientHistory": "hit by a tram",
    **UIDS,
}


def hospital_file(path: Path, **changed: Any) -> Dataset:
    """A file with identifiers wherever a header has room for them."""
    header = dicom(path, PIXELS, **{**SAID, "PixelSpacing": [0.5, 0.7], **changed})
    block = header.private_block(0x0099, "ACME Quillsoft", create=True)
    block.add_new(1, "LO", "private Quill")
    inner = Dataset()
    inner.PatientName = "Deep^Ottoline"
    inner.add_new(0x00990010, "LO", "ACME Quillsoft")
    inner.add_new(0x00991001, "LO", "deep private")
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = UIDS["SOPInstanceUID"]
    reference.PersonName = "Nested^Ottoline"
    reference.PurposeOfReferenceCodeSequence = [inner]
    header.ReferencedImageSequence = [reference]
    request = Dataset()
    request.RequestedProcedureDescription = "for Quill"
    request.ScheduledProcedureStepID = "SPS-424242"
    header.RequestAttributesSequence = [request]
    header.OtherPatientIDsSequence = [Dataset()]
    header.OtherPatientIDsSequence[0].PatientID = "OLD-131313"
    header.add_new(0x60004000, "LT", "overlay Quill")
    header.add_new(0x60003000, "OW", b"overlay bits")
    header.add_new(0x60000010, "US", 4)
    header.add_new(0x00100033, "LO", "born in Quill 5722")
    header.add_new(0x00100034, "LO", "died in Quill 5790")
    header.add_new(0x00400400, "LT", "Quill comes by tram")
    header.add_new(0x00091234, "UN", b"unknown private")
    header.add_new(0x00190099, "UN", b"Quill in odd group")
    header.add_new(0x00120777, "UN", b"not in the standard")
    header.add_new(0xFFFCFFFC, "OB", b"padding Quill")
    header.preamble = b"TIFF of Quill".ljust(128, b"\0")
    header.file_meta.SourceApplicationEntityTitle = "QUILL-AE"
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.save_as(path, enforce_file_format=True)
    return header


HIDDEN = (
    *(value for name, value in SAID.items() if name != "PatientAge"),
    *("Quill", "Ottoline", "Farthing", "Infirmary", "mayor", "ACME", "deep private", "SPS-424242"),
    *("OLD-131313", "overlay", "unknown private", "not in the standard", "padding", "QUILL-AE"),
    *("Nested", "Deep^", "081Y", "odd group"),
)


def clean(source: Path, out: Path, **options: Any) -> Deidentified:
    return deidentify(source, out, salt=options.pop("salt", SALT), **options)


def bytes_of(folder: Path) -> bytes:
    """Every byte below a folder, names too."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"\n".join(str(f.relative_to(folder)).encode() + f.read_bytes() for f in files)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_no_identifier_is_in_any_byte_that_is_written(tmp_path: Path, syntax: str) -> None:
    hospital_file(tmp_path / "in" / "Quill_Ottoline" / "Ottoline.dcm", syntax=syntax)
    before = state(tmp_path / "in")
    original = bytes_of(tmp_path / "in")
    assert all(text.encode() in original for text in HIDDEN)  # the search can find them
    done = clean(tmp_path / "in", tmp_path / "out")
    written = bytes_of(tmp_path / "out")
    assert [text for text in HIDDEN if text.encode() in written] == []
    assert state(tmp_path / "in") == before
    copy = pydicom.dcmread(tmp_path / "out" / done.copies[0].file)
    assert copy.PixelData == PIXELS.tobytes()
    assert (copy.Rows, copy.Columns, list(copy.PixelSpacing)) == (4, 6, [0.5, 0.7])
    assert (copy.Modality, copy.SOPClassUID) == ("CT", pydicom.uid.CTImageStorage)
    assert copy.file_meta.TransferSyntaxUID == syntax


def test_the_copy_says_what_was_done(tmp_path: Path) -> None:
    hospital_file(tmp_path / "a.dcm")
    done = clean(tmp_path / "a.dcm", tmp_path / "out")
    copy = pydicom.dcmread(tmp_path / "out" / done.copies[0].file)
    assert copy.PatientIdentityRemoved == "YES"
    assert copy.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert copy.LongitudinalTemporalInformationModified == "REMOVED"
    assert copy.PatientName == copy.PatientID
    assert copy.StudyDate == ""
    assert copy.AcquisitionDateTime.startswith("00010101")  # a dummy: some kinds must have one
    assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
    reference = copy.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == copy.SOPInstanceUID  # it referred to itself
    assert reference.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def test_pseudonyms_agree_between_files_and_runs_and_not_between_salts(tmp_path: Path) -> None:
    for number in (1, 2):
        hospital_file(tmp_path / "in" / f"{number}", SOPInstanceUID=f"1.2.3.{number}")
    hospital_file(tmp_path / "in" / "3", PatientID="MRN-2", SOPInstanceUID="1.2.3.9",
                  StudyInstanceUID="1.2.9")  # fmt: skip
    runs = [clean(tmp_path / "in", tmp_path / name) for name in ("one", "two")]
    other = clean(tmp_path / "in", tmp_path / "three", salt=b"t" * 32)
    first, second, third = (pydicom.dcmread(tmp_path / "one" / c.file) for c in runs[0].copies)
    assert first.PatientID == second.PatientID != third.PatientID
    assert first.StudyInstanceUID == second.StudyInstanceUID != third.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SOPInstanceUID.startswith("2.25.")
    assert first.SOPInstanceUID.is_valid
    assert [c.file for c in runs[0].copies] == [c.file for c in runs[1].copies]
    assert {c.file for c in other.copies}.isdisjoint(c.file for c in runs[0].copies)


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_shifted_dates_keep_what_lies_between_them(tmp_path: Path) -> None:
    hospital_file(tmp_path / "a.dcm", ContentDate="nodate")
    done = clean(tmp_path / "a.dcm", tmp_path / "out", dates="shift")
    copy = pydicom.dcmread(tmp_path / "out" / done.copies[0].file)
    study, series = (np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in
                     (copy.StudyDate, copy.SeriesDate))  # fmt: skip
    assert series - study == np.timedelta64(1, "D")
    back = np.datetime64("2021-11-03") - study
    assert np.timedelta64(1, "D") <= back <= np.timedelta64(3650, "D")
    assert copy.AcquisitionDateTime[8:] == "123456"
    assert copy.PatientBirthDate == ""
    assert "ContentDate" not in copy  # it was none
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"
    assert copy.DeidentificationMethodCodeSequence[1].CodeValue == "113107"
    written = bytes_of(tmp_path / "out")
    assert not any(date in written for date in (b"20211103", b"20211104", b"20211105", b"19431224"))


def test_uids_of_the_standard_stay_and_others_are_replaced() -> None:
    cleaner = Cleaner(SALT)
    assert cleaner.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert cleaner.uid("1.2.3") == cleaner.uid("1.2.3\0") != cleaner.uid("1.2.4")
    assert len({cleaner.uid(generate_uid()) for _ in range(200)}) == 200


def test_what_cannot_be_cleaned_is_flagged(tmp_path: Path) -> None:
    hospital_file(tmp_path / "in" / "us", Modality="US")
    hospital_file(tmp_path / "in" / "head", BodyPartExamined="HEAD", SOPInstanceUID="1.5")
    plain = hospital_file(tmp_path / "in" / "plain", SOPInstanceUID="1.6", BurnedInAnnotation="NO")
    del plain.PixelData
    plain.save_as(tmp_path / "in" / "without", enforce_file_format=True)
    done = clean(tmp_path / "in", tmp_path / "out")
    flags = {copy.original.name: " ".join(copy.flags) for copy in done.copies}
    assert "text burnt" in flags["us"]
    assert "face" in flags["head"]
    assert flags["plain"] == ""
    assert "no pixels" in flags["without"]
    report = (tmp_path / "out" / module.REPORT).read_text()
    assert "face" in report
    assert "Pixels are as they were" in report


def test_bad_files_stop_it_or_are_left_out_and_others_are_not_copied(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    hospital_file(folder / "good")
    whole = (folder / "good").read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:300])
    (folder / "noise.dcm").write_bytes(b"\0" * 128 + b"DICM" + bytes(range(256)) * 4)
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "notes.txt").write_text("Quill, 12 Farthing Lane")
    (folder / "DICOMDIR").write_bytes(whole)
    (folder / "packed.dcm.gz").write_bytes(gzip.compress(whole))
    (folder / "link.dcm").symlink_to(folder / "good")
    with pytest.raises(DataError, match="3 of 7 files cannot be cleaned") as error:
        clean(folder, tmp_path / "out")
    assert "Quill" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    done = clean(folder, tmp_path / "out", skip_bad=True)
    assert {path.name for path, _ in done.left_out} == {"cut.dcm", "noise.dcm", "empty.dcm"}
    assert {path.name for path in done.not_dicom} == {"notes.txt", "DICOMDIR"}
    assert len({copy.file for copy in done.copies}) == 2  # one instance, given twice
    assert b"Quill" not in bytes_of(tmp_path / "out")


def test_a_value_that_cannot_be_read_is_left_out_with_what_it_holds(tmp_path: Path) -> None:
    hospital_file(tmp_path / "a.dcm", syntax=ImplicitVRLittleEndian)
    content = (tmp_path / "a.dcm").read_bytes()
    assert content.count(b"0.5\\0.7 ") == 1
    (tmp_path / "a.dcm").write_bytes(content.replace(b"0.5\\0.7 ", b"Ottoline"))
    done = clean(tmp_path / "a.dcm", tmp_path / "out")
    assert any("damaged elements were left out" in flag for flag in done.copies[0].flags)
    assert b"Ottoline" not in bytes_of(tmp_path / "out")


def test_copies_and_originals_are_kept_apart(tmp_path: Path) -> None:
    hospital_file(tmp_path / "in" / "a.dcm")
    before = state(tmp_path)
    for out in (tmp_path / "in", tmp_path / "in" / "out", tmp_path):
        with pytest.raises(SettingsError, match=r"is there already|lie within each other"):
            clean(tmp_path / "in", out)
    with pytest.raises(DataError, match="no such file"):
        clean(tmp_path / "gone", tmp_path / "out")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no DICOM file in it"):
        clean(tmp_path / "bare", tmp_path / "out")
    (tmp_path / "bare").rmdir()
    assert state(tmp_path) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_half_written_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    hospital_file(tmp_path / "in" / "a.dcm")
    before = state(tmp_path)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(module.os, "rename", fails)
    with pytest.raises((KeyboardInterrupt, StorageError)):
        clean(tmp_path / "in", tmp_path / "out")
    assert state(tmp_path) == before


def test_nothing_of_a_header_is_warned_of_or_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hospital_file(tmp_path / "a.dcm", AccessionNumber="X" * 30)
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean(tmp_path / "a.dcm", tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def elements(dataset: Dataset) -> Iterator[Any]:
    """All elements on all levels that can be read."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:
            continue
        yield element
        for item in element.value if element.VR == "SQ" else []:
            yield from elements(item)


def identifying(dataset: Dataset) -> Iterator[str]:
    """Names, dates, instance UIDs and identifiers, long enough not to occur by chance."""
    named = ("ID", "Number", "Address", "Comments", "StationName", "InstitutionName")
    for element in elements(dataset):
        wanted = element.VR in ("PN", "DA", "DT", "UI") or (
            element.VR in ("LO", "SH", "ST", "LT", "UT") and element.keyword.endswith(named)
        )
        if not wanted or element.keyword.endswith(("ClassUID", "SchemeUID")):
            continue
        values = element.value if element.VM > 1 else [element.value]
        for text in (str(value).strip() for value in values):
            if len(text) >= 6 and not text.startswith("1.2.840.10008."):
                yield text


@pytest.mark.filterwarnings("ignore")
def test_real_files_lose_their_identifiers_and_keep_their_pixels(
    tmp_path: Path, shared_data: Path
) -> None:
    done = clean(shared_data / "dicom", tmp_path / "out", skip_bad=True)
    assert len(done.copies) > 100
    kept: set[str] = set()
    searched = 0
    for made in done.copies:
        if made.original.suffix == ".gz":
            continue
        original = pydicom.dcmread(made.original, force=True)
        copy = pydicom.dcmread(tmp_path / "out" / made.file)
        assert copy.get("PixelData") == original.get("PixelData"), made.original
        written = (tmp_path / "out" / made.file).read_bytes()
        for text in identifying(original):
            searched += 1
            if text.encode("latin-1", "replace") in written:
                kept.add(text)
    assert searched > 1000
    # In the open: the maker's name, where the institution gave it as its own; pydicom's own root;
    # an image's name in a retired element that the profile does not speak of.
    assert kept <= {"TOSHIBA", "1.2.826.0.1.3680043.8.498", "WHOLE BODY_E"}
