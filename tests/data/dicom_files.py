"""DICOM files made for tests, with headers as hospitals write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

STORAGE = {"CT": CTImageStorage, "MR": MRImageStorage}
FRONTAL, FACING_UP = [1, 0, 0, 0, 0, -1], [1, 0, 0, 0, 1, 0]


def dicom(
    path: Path, pixels: NDArray[Any], *, syntax: str = ExplicitVRLittleEndian, **elements: Any
) -> FileDataset:
    """Write pixels ``([frames,] H, W[, 3])``; ``elements`` by keyword, None to leave one out."""
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    frames = pixels.shape[0] if pixels.ndim == (4 if colour else 3) else 0
    height, width = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    modality = elements.get("Modality", "CT")
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = STORAGE.get(modality, SecondaryCaptureImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    bits = 8 * pixels.dtype.itemsize
    told = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientName": "Roe^Jane",
        "PatientID": "MRN-0815",
        "PatientBirthDate": "19610203",
        "StudyInstanceUID": "1.2.3.4",
        "SeriesInstanceUID": "1.2.3.4.5",
        "Modality": modality,
        "Rows": height,
        "Columns": width,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        **({"PlanarConfiguration": 0} if colour else {}),
        **({"NumberOfFrames": frames} if frames else {}),
        **elements,
    }
    for name, value in told.items():
        if value is not None:
            setattr(header, name, value)
    header.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return header


def ct_slices(folder: Path, heights: list[float], **elements: Any) -> list[Path]:
    """A CT series: a slice at each height, all of whose pixels are its number from below."""
    ranks = {height: rank for rank, height in enumerate(sorted(heights))}
    paths = []
    for number, height in enumerate(heights):
        path = folder / f"slice-{number:02d}"
        pixels = np.full((4, 6), 1024 + ranks[height], np.int16)
        place = {"ImagePositionPatient": [0, 0, height], "ImageOrientationPatient": FACING_UP}
        scale = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PixelSpacing": [0.5, 0.7]}
        dicom(path, pixels, **{**place, **scale, "InstanceNumber": number + 1, **elements})
        paths.append(path)
    return paths
