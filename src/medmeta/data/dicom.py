"""Interim: the smallest reader of uncompressed grey DICOM, until the whole one is merged."""

# ruff: noqa: D103
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Problem
from medmeta.data.pseudonyms import pseudonym
from medmeta.data.scan import Scan
from medmeta.data.windows import misfit, parse_window
from medmeta.errors import UnreadableImageError


def looks_like_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def scan_dicom(
    files: Sequence[Path], *, root: Path, salt: bytes
) -> tuple[list[Scan], list[Problem]]:
    import pydicom

    series: defaultdict[str, list[tuple[float, Path, Any]]] = defaultdict(list)
    problems = []
    for path in files:
        try:
            header: Any = pydicom.dcmread(path, stop_before_pixels=True)
            place = float(header.get("ImagePositionPatient", [0, 0, 0])[2])
            series[str(header.SeriesInstanceUID)].append((place, path, header))
        except Exception:
            where = path.relative_to(root).as_posix()
            problems.append(Problem("error", where, "is no DICOM file, or is damaged."))
    scans = []
    for name, held in series.items():
        held.sort(key=lambda entry: entry[0])
        first = held[0][2]
        scans.append(
            Scan(
                "dicom", held[0][1].relative_to(root).as_posix(), tuple(h[1] for h in held),
                len(held), (first.Rows, first.Columns), modality=first.Modality,
                photometric=first.PhotometricInterpretation,
                patient=pseudonym(str(first.PatientID), salt),
                study=pseudonym(str(first.StudyInstanceUID), salt), series=pseudonym(name, salt),
                others={"device": str(first.Manufacturer), "sex": str(first.PatientSex)},
            )
        )  # fmt: skip
    return scans, problems


def read_dicom_slice(scan: Scan, number: int, *, window: str | None) -> NDArray[np.uint8]:
    import pydicom

    asked = parse_window(window or "file")
    if asked is not None and (wrong := misfit(asked, scan.modality)):
        raise UnreadableImageError(f"{scan.where}: {wrong}")
    header: Any = pydicom.dcmread(scan.files[number])
    values = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
    low, high = float(values.min()), float(values.max()) + 1
    if asked is not None:
        low, high = asked.centre - asked.width / 2, asked.centre + asked.width / 2
    return (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
