"""Masks of scans: NIfTI label maps, DICOM segmentations and contours of radiotherapy.

Each must lie on the grid of its scan. UIDs that link files are compared and go no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.contours import rasterised
from medmeta.data.nifti import nifti_values, scan_nifti, slice_count
from medmeta.data.nifti_header import is_nifti, read_header
from medmeta.data.preprocess import Preprocessing
from medmeta.data.scan import Scan
from medmeta.errors import DataError, MedmetaError, MissingExtraError

_SEG, _RTSTRUCT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"
_AFFINE = 1e-2  # mm


@dataclass(frozen=True)
class VolumeMask:
    """Numbers of each slice of a scan, ``(n, H, W)``, and what they stand for (None: not said).

    ``note``: what should be known of it, empty where nothing.
    """

    slices: NDArray[np.integer[Any]]
    names: dict[int, str] | None
    note: str = ""

    def small(self) -> NDArray[Any]:
        """The numbers in bytes where they fit: those of all volumes are held at once."""
        fits = self.slices.min(initial=0) >= 0 and self.slices.max(initial=0) < 256
        return self.slices.astype(np.uint8) if fits else self.slices


def read_volume_mask(path: Path, scan: Scan, preprocessing: Preprocessing) -> VolumeMask:
    """The mask of a scan, its slices in the order of the scan's own.

    Raises ``DataError`` that says what does not fit, without the file's name.
    """
    try:
        if is_nifti(path):
            if scan.kind != "nifti":
                raise DataError("is a NIfTI file, but its image is DICOM; convert one of them.")
            return VolumeMask(_label_map(path, scan, preprocessing), None)
        if scan.kind != "dicom":
            raise DataError("is no NIfTI file, as its image is; convert one of them.")
        return _of_dicom(path, scan)
    except DataError:
        raise
    except MedmetaError as error:
        if isinstance(error, MissingExtraError):
            raise
        raise DataError(str(error)) from None
    except Exception as error:  # readers of damaged files raise almost anything
        raise DataError(f"cannot be read as a mask ({type(error).__name__}).") from error


def _label_map(path: Path, scan: Scan, preprocessing: Preprocessing) -> NDArray[np.int32]:
    ours, theirs = read_header(path), read_header(scan.files[0])
    if tuple(ours.shape) != tuple(theirs.shape):
        raise DataError(f"has {ours.shape} voxels, but its image {theirs.shape}.")
    if ours.times > 1:
        raise DataError(f"holds {ours.times} volumes, and a mask is one; save it by itself.")
    if not np.allclose(ours.affine, theirs.affine, atol=_AFFINE):
        raise DataError("lies elsewhere than its image (its affine differs); resample it.")
    mask = scan_nifti(path, root=path.parent)
    if not isinstance(mask, Scan):
        raise DataError(mask.what)
    plane = preprocessing.plane
    return np.stack(nifti_values(mask, range(slice_count(mask, plane)), plane=plane, show=_whole))


def _whole(values: NDArray[Any]) -> NDArray[np.int32]:
    measured = values.astype(np.float64)
    whole = np.rint(measured)
    fits = np.isfinite(measured).all() and np.abs(whole).max(initial=0) < 2**31
    if not fits or np.abs(whole - measured).max(initial=0) > 1e-3:
        raise DataError("holds numbers that are not whole; it is an image, or was interpolated.")
    return whole.astype(np.int32)


def _of_dicom(path: Path, scan: Scan) -> VolumeMask:
    try:
        import pydicom
    except ImportError:
        raise MissingExtraError("pydicom", "dicom", "reading DICOM masks") from None
    header = pydicom.dcmread(path, stop_before_pixels=True)
    kind = str(header.get("SOPClassUID") or "")
    if kind == _SEG:
        return _segments(path, scan)
    if kind == _RTSTRUCT:
        return VolumeMask(*rasterised(header, scan))
    raise DataError("is no DICOM segmentation and no set of radiotherapy structures.")


def _segments(path: Path, scan: Scan) -> VolumeMask:
    try:
        import highdicom
    except ImportError:
        raise MissingExtraError("highdicom", "segmentation", "reading DICOM SEG") from None
    import pydicom

    seg: Any = highdicom.seg.segread(path)
    names = {
        int(number): str(seg.get_segment_description(number).segment_label)
        for number in seg.segment_numbers
    }
    uids = [
        str(pydicom.dcmread(f, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
            .SOPInstanceUID)
        for f in scan.files
    ]  # fmt: skip
    referenced = {uid for _, _, uid in seg.get_source_image_uids()}
    if not referenced & set(uids):
        raise DataError("was made of other images than those it lies beside.")
    stray = [uid for uid in referenced if uid not in set(uids)]
    if stray:
        raise DataError(f"was made of {len(stray)} slices that are not among its images.")
    found = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    if found.shape[1:] != scan.shape:
        raise DataError(f"has slices of {found.shape[1:]} pixels, but its images {scan.shape}.")
    return VolumeMask(np.asarray(found, dtype=np.int64), names)
