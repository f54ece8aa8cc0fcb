"""Masks of scans written so that hospitals read them: NIfTI on the same grid, DICOM SEG."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.nifti import shown_to_stored
from medmeta.data.nifti_header import library, read_header
from medmeta.data.scan import Scan
from medmeta.errors import DataError, MissingExtraError
from medmeta.version import __version__

_MANUFACTURER, _MODEL = "medmeta", "few-shot segmentation"


def write_nifti_mask(
    path: Path, scan: Scan, mask: NDArray[np.uint8], *, plane: str = "axial"
) -> None:
    """Write ``mask`` ``(n, H, W)``, as its slices are shown, on the grid and affine of its scan.

    Nothing of the image's header is taken over but where its voxels lie.
    """
    _write_nifti(path, scan, mask, plane=plane, intent="label")


def write_nifti_map(
    path: Path, scan: Scan, values: NDArray[np.float32], *, plane: str = "axial"
) -> None:
    """Write numbers ``(n, H, W)`` of each voxel, such as how unsure its label is, likewise."""
    _write_nifti(path, scan, values, plane=plane, intent="none")


def _write_nifti(path: Path, scan: Scan, values: NDArray[Any], *, plane: str, intent: str) -> None:
    header = read_header(scan.files[0])
    nibabel = library()
    image = nibabel.Nifti1Image(shown_to_stored(header, values, plane=plane), header.affine)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    code = 1 if header.placed else 0
    image.set_sform(header.affine, code=code)
    image.set_qform(header.affine, code=code)
    nibabel.save(image, path)


def write_segmentation(
    path: Path, scan: Scan, mask: NDArray[np.uint8], structures: Sequence[str]
) -> None:
    """Write ``mask`` ``(n, H, W)`` as a binary DICOM segmentation that refers to its images.

    It carries the patient and the study of the images, as DICOM asks for. Raises ``DataError``
    where nothing is marked or the images lack what a segmentation must refer to,
    ``MissingExtraError`` without highdicom.
    """
    try:
        import highdicom
        import pydicom
        from pydicom.sr.codedict import codes
    except ImportError:
        raise MissingExtraError("highdicom", "segmentation", "writing DICOM SEG") from None
    present = [n for n in range(1, len(structures) + 1) if (mask == n).any()]
    if not present:
        raise DataError(
            f"{scan.where}: nothing is marked, and a DICOM segmentation cannot be empty; use "
            "--format png."
        )
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=place,
            segment_label=structures[number - 1][:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.AnatomicalStructure,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                name=_MODEL,
                version=__version__,
                family=codes.cid7162.ArtificialIntelligence,
            ),
        )
        for place, number in enumerate(present, start=1)
    ]
    planes = np.stack([mask == number for number in present], axis=-1).astype(np.uint8)
    if scan.frames:  # as they stand in the file
        planes = planes[np.argsort(scan.frames)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sources: list[Any] = [pydicom.dcmread(file) for file in scan.files]
        try:
            made = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=planes,
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=described,
                series_instance_uid=highdicom.UID(),
                series_number=900,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer=_MANUFACTURER,
                manufacturer_model_name=_MODEL,
                software_versions=__version__,
                device_serial_number="0",
                omit_empty_frames=True,
            )
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{scan.where}: its headers lack what a DICOM segmentation refers to "
                f"({type(error).__name__}); use --format png."
            ) from error
        made.save_as(path)
