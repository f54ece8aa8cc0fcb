"""Medical files found among others, and their slices read: all formats behind one door."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medmeta.data.dicom import looks_like_dicom, read_dicom_slice, scan_dicom
from medmeta.data.index import Problem
from medmeta.data.nifti import read_nifti_slices, scan_nifti, slice_count
from medmeta.data.nifti_header import is_body, is_nifti
from medmeta.data.preprocess import Preprocessing
from medmeta.data.pseudonyms import user_salt
from medmeta.data.readers import IMAGE_SUFFIXES
from medmeta.data.scan import Scan
from medmeta.data.signals import NO_PICTURE, SIGNAL, is_signal, scan_signal
from medmeta.data.slides import SLIDE, has_slide_name, read_slide, scan_slide, tiles_of
from medmeta.data.wfdb_header import HEADER_SUFFIX
from medmeta.errors import MedmetaError, UnreadableImageError

Kind = Literal["dicom", "nifti", "signal", "slide"]


def medical_kind(path: Path) -> Kind | None:
    """What kind of medical file it is: by its name, DICOM by name or content.

    A picture's suffix is believed, so that folders of pictures are not opened one by one. Tables
    are none, though some hold signals (``kind_in_class`` tells).
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return None
    if path.suffix.lower() == HEADER_SUFFIX:
        return SIGNAL
    if has_slide_name(path):
        return SLIDE
    if is_nifti(path):
        return "nifti"
    return "dicom" if looks_like_dicom(path) else None


def kind_in_class(path: Path) -> Kind | None:
    """The same where no manifest is expected: a table of numbers is a signal."""
    return SIGNAL if is_signal(path) else medical_kind(path)


def find_scans(files: Iterable[Path], *, root: Path) -> tuple[list[Scan], list[Problem]]:
    """The scans that medical files make up, and what is wrong with the others.

    DICOM files are put together by series. Messages name files from ``root``.
    """
    scans: list[Scan] = []
    problems: list[Problem] = []
    dicom = []
    for file in files:
        if is_signal(file):
            signal = scan_signal(file, root=root)
            (scans if isinstance(signal, Scan) else problems).append(signal)  # type: ignore[arg-type]
        elif has_slide_name(file):
            scans.append(scan_slide(file, root=root))
        elif not is_nifti(file):
            dicom.append(file)
        elif not is_body(file):
            found = scan_nifti(file, root=root)
            (scans if isinstance(found, Scan) else problems).append(found)  # type: ignore[arg-type]
    if dicom:
        with warnings.catch_warnings():  # the library's own, which may repeat what a header says
            warnings.simplefilter("ignore")
            series, wrong = scan_dicom(dicom, root=root, salt=user_salt())
        scans += series
        problems += wrong
    return scans, problems


def slices_of(scan: Scan, preprocessing: Preprocessing) -> int:
    """How many slices a scan has, cut as asked for; of a slide, tiles that show tissue."""
    if scan.kind == SLIDE:
        return tiles_of(scan, preprocessing)
    return slice_count(scan, preprocessing.plane) if scan.kind == "nifti" else scan.n_slices


def read_slices(
    scan: Scan, numbers: Sequence[int], preprocessing: Preprocessing
) -> list[NDArray[np.uint8]]:
    """Slices of a scan, or tiles of a slide, as pictures, uint8 ``(H, W)`` or ``(H, W, 3)``.

    Raises ``UnreadableImageError`` that names the scan, whatever the matter is.
    """
    window = preprocessing.window
    if scan.kind == SIGNAL:
        raise UnreadableImageError(f"{scan.where}: {NO_PICTURE}")
    if scan.kind == SLIDE or preprocessing.tiled:
        return read_slide(scan, list(numbers), preprocessing)
    try:
        if scan.kind == "dicom":
            return [read_dicom_slice(scan, number, window=window) for number in numbers]
        found = read_nifti_slices(
            scan,
            numbers,
            window=window,
            plane=preprocessing.plane,
            time_point=preprocessing.time_point,
        )
        return list(found.pixels)
    except MedmetaError:
        raise
    except Exception as error:  # decoders of damaged files raise almost anything
        raise UnreadableImageError(
            f"{scan.where}: is damaged or of a kind that is not read ({type(error).__name__}); "
            "write it again with the program that it comes from."
        ) from error


def scan_place(scan: Scan) -> Path:
    """The path that stands for a scan: its one file, or the folder of its slices."""
    folders = {file.parent for file in scan.files}
    if scan.kind == "dicom" and len(scan.files) > 1 and len(folders) == 1:
        return scan.files[0].parent
    return scan.files[0]
