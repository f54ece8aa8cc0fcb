"""A hospital's export: DICOM series of several patients, sites and scanners, with their names."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

SITES = (("Siemens", "Somatom"), ("GE", "Revolution"))
N_SLICES = 4


@dataclass(frozen=True)
class Series:
    """One series as it was written: its folder, what identifies it, and its label."""

    folder: Path
    patient: str
    study: str
    series: str
    label: str


class Hospital:
    """Writes series, and remembers everything in their headers that is somebody's."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pydicom: Any = pytest.importorskip("pydicom", reason="the extra dicom")
        self.identifiers: set[str] = set()
        self.pixels = pixels
        self._written = 0

    def series(self, folder: Path, label: str, level: int, *, patient: int, named: bool) -> Series:
        """A CT series around a level in HU; ``named``: its files are called by their UIDs."""
        uid = self.pydicom.uid.generate_uid
        study, series = str(uid()), str(uid())
        for number in range(N_SLICES):
            data = self._slice(patient, level, number, study, series)
            name = data.SOPInstanceUID if named else f"image-{N_SLICES - number}"
            folder.mkdir(parents=True, exist_ok=True)
            data.save_as(folder / f"{name}.dcm", enforce_file_format=True)
        return Series(folder, self._person(patient)["PatientID"], study, series, label)

    def _person(self, patient: int) -> dict[str, str]:
        return {
            "PatientName": f"Quagmire^Jessamine{patient:03d}",
            "PatientID": f"MRN-88{patient:05d}",
            "PatientBirthDate": f"1961{1 + patient % 12:02d}17",
            "PatientAddress": f"{patient} Elderberry Lane, Wexcombe",
            "AccessionNumber": f"ACC{patient:07d}X",
            "StudyDate": "20190613",
            "StudyTime": "081533.250",
            "InstitutionName": f"Wexcombe General {patient % 2}",
            "ReferringPhysicianName": "Thistlewood^Barnaby",
            "OperatorsName": "Ottoline^Pym",
            "StationName": f"WEXCT{patient % 2}",
            "DeviceSerialNumber": f"SN-55{patient % 2}-ZQ",
            "StudyDescription": "follow-up of J. Quagmire",
            "PatientComments": "lives alone, call daughter Hyacinth",
        }

    def _slice(self, patient: int, level: int, number: int, study: str, series: str) -> Any:
        pydicom = self.pydicom
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        data.SOPInstanceUID = str(pydicom.uid.generate_uid())
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID = str(pydicom.uid.generate_uid())
        person = self._person(patient)
        for name, value in person.items():
            setattr(data, name, value)
        block = data.private_block(0x0099, "WEXCOMBE PRIVATE", create=True)
        block.add_new(0x01, "LO", f"bed of {person['PatientID']}")
        self.identifiers |= {*person.values(), data.SOPInstanceUID, study, series}
        self.identifiers |= {data.FrameOfReferenceUID, "WEXCOMBE PRIVATE", "Jessamine"}
        data.Manufacturer, data.ManufacturerModelName = SITES[patient % 2]
        data.PatientSex, data.PatientAge, data.Modality = "FM"[patient % 2], "058Y", "CT"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber = number + 1
        data.ImagePositionPatient = [-100.0, -100.0, 2.5 * number]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.75, 0.75], 2.5
        data.WindowCenter, data.WindowWidth = 40, 400
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
        picture = self.pixels[self._written % len(self.pixels)].astype(np.int16)
        self._written += 1
        values = (level + 1024 + picture // 2 + number).astype(np.uint16)
        data.Rows, data.Columns = values.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 0
        data.PixelData = values.tobytes()
        return data


def contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """All bytes below a folder, names of files too; what is packed is also unpacked."""
    for path in sorted(root.rglob("*")):
        yield str(path), path.relative_to(root).as_posix().encode()
        if path.is_file():
            yield from _unpacked(str(path), path.read_bytes())


def _unpacked(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, data
    if data[:2] == b"\x1f\x8b":
        yield f"{name}, unpacked", gzip.decompress(data)
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield from _unpacked(f"{name}, {member}", archive.read(member))


def leaks(root: Path, identifiers: set[str]) -> list[str]:
    """Which identifiers stand in which file, in UTF-8 or UTF-16."""
    found = []
    for name, data in contents(root):
        for identifier in sorted(identifiers):
            if any(identifier.encode(code) in data for code in ("utf-8", "utf-16-le")):
                found.append(f"{identifier} in {name}")
    return found
