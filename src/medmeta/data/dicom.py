"""DICOM files as scans: what each holds, gathered into series and put in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmeta.data.dicom_file import looks_like_dicom, opened, read_header
from medmeta.data.dicom_geometry import Place, place_of, volumes
from medmeta.data.dicom_pixels import dicom_values, read_dicom_slice
from medmeta.data.dicom_repeats import without_repeats
from medmeta.data.dicom_stored import frame_count, frame_shape, transfer_syntax
from medmeta.data.dicom_syntax import NOT_PICTURES, syntax_name
from medmeta.data.dicom_warnings import worth_saying
from medmeta.data.index import Problem
from medmeta.data.pseudonyms import pseudonym
from medmeta.data.scan import Scan
from medmeta.errors import UnreadableImageError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["dicom_values", "looks_like_dicom", "read_dicom_slice", "scan_dicom"]


@dataclass(frozen=True)
class DicomFile:
    """One file with a picture: where it is, what it holds, and where that lies in space."""

    path: Path
    where: str
    frames: int
    shape: tuple[int, int]
    place: Place
    instance: str
    modality: str | None
    photometric: str | None
    syntax: str
    ids: tuple[str | None, str | None, str | None]
    others: dict[str, str] = field(default_factory=dict)
    said: tuple[str, ...] = ()


def scan_dicom(
    files: Sequence[Path], *, root: Path, salt: bytes
) -> tuple[list[Scan], list[Problem]]:
    """The scans that files hold, and what is wrong with those that hold none.

    Single slices of one series and one orientation become a volume, in order along its normal;
    what has no place in space stays a picture by itself. Only headers are read. ``root`` is where
    names in messages start from, ``salt`` what pseudonyms are made with.
    """
    found: list[DicomFile] = []
    problems: list[Problem] = []
    for path in files:
        where = _where(path, root)
        try:
            found.append(_read(path, where, salt))
        except UnreadableImageError as error:
            problems.append(Problem("error", where, str(error)))
    kept, repeats = without_repeats(found)
    problems += repeats
    scans: list[Scan] = []
    for members in _by_series(kept):
        together, alone, said = volumes([file.place for file in members])
        problems += [Problem("warning", members[0].where, text) for text in said]
        for order in together:
            scans.append(_volume([members[i] for i in order.members], order.step, order.said))
        scans += [_volume([members[i]], None, ()) for i in alone]
    return sorted(scans, key=lambda scan: scan.where), problems


def _where(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _read(path: Path, where: str, salt: bytes) -> DicomFile:
    with opened(path) as file:
        header, _ = read_header(file)
    try:
        return _described(header, path, where, salt)
    except UnreadableImageError:
        raise
    except Exception as error:  # values of damaged headers raise almost anything when looked at
        raise UnreadableImageError("has a damaged DICOM header; export it again.") from error


def _described(header: Dataset, path: Path, where: str, salt: bytes) -> DicomFile:
    modality = str(header.get("Modality") or "") or None
    meta = getattr(header, "file_meta", None) or {}
    stored = header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""
    kind = NOT_PICTURES.get(str(stored)) or NOT_PICTURES.get(modality or "")
    if kind is not None:
        raise UnreadableImageError(f"holds no picture, but {kind}.")
    if not header.get("Rows"):
        about = "holds no picture." if len(header) else "is no DICOM file, or is damaged."
        raise UnreadableImageError(about)
    rows, columns, _ = frame_shape(header)
    ids = (header.get(n) for n in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
    patient, study, series = (
        pseudonym(str(i), salt) if str(i or "").strip() else None for i in ids
    )
    frames = frame_count(header)
    return DicomFile(
        path=path,
        where=where,
        frames=frames,
        shape=(rows, columns),
        place=place_of(header, frames),
        instance=pseudonym(str(header.get("SOPInstanceUID") or ""), salt)
        if header.get("SOPInstanceUID")
        else "",
        modality=modality,
        photometric=str(header.get("PhotometricInterpretation") or "") or None,
        syntax=syntax_name(transfer_syntax(header)),
        ids=(patient, study, series),
        others=_others(header),
        said=tuple(worth_saying(header)),
    )


def _others(header: Dataset) -> dict[str, str]:
    """Columns to group by; none of them says who the patient is."""
    device = " ".join(
        str(header.get(name) or "").strip() for name in ("Manufacturer", "ManufacturerModelName")
    ).strip()
    sex = str(header.get("PatientSex") or "").strip().upper()
    found = {"device": device, "sex": sex if sex in ("F", "M", "O") else ""}
    band = age_band(str(header.get("PatientAge") or ""))
    return {name: text for name, text in {**found, "age_band": band}.items() if text}


def age_band(age: str) -> str:
    """Ten years of age, as DICOM writes an age; empty where that cannot be read.

    >>> age_band("047Y"), age_band("011M"), age_band("unknown")
    ('40-49', '0-9', '')
    """
    digits, unit = age.strip()[:-1], age.strip()[-1:].upper()
    per_year = {"Y": 1.0, "M": 12.0, "W": 52.2, "D": 365.25}
    if not digits.isdigit() or unit not in per_year:
        return ""
    years = int(int(digits) / per_year[unit])
    if years >= 90:  # few are older: the band would tell who it is
        return "90+"
    return f"{years // 10 * 10}-{years // 10 * 10 + 9}"


def _by_series(files: Iterable[DicomFile]) -> list[list[DicomFile]]:
    """Files of one series, size and kind; a file without a series stays alone."""
    groups: dict[Any, list[DicomFile]] = {}
    for number, file in enumerate(files):
        series = file.ids[2] or number
        groups.setdefault((series, file.shape, file.modality, file.photometric), []).append(file)
    return list(groups.values())


def _volume(members: Sequence[DicomFile], step: float | None, said: Sequence[str]) -> Scan:
    """One scan of one file, or of several in order."""
    first = members[0]
    several = len(members) > 1
    order = None if several else first.place.frames
    between = step if several else first.place.step
    where = first.where
    if several:
        folder = where.rpartition("/")[0]
        where = f"{folder or '.'} (series of {len(members)} files from {where.rpartition('/')[2]})"
    own = [text for member in members for text in member.said]
    texts = list(dict.fromkeys([*said, *(() if order is None else order.said), *own]))
    return Scan(
        kind="dicom",
        where=where,
        files=tuple(member.path for member in members),
        n_slices=len(members) if several else first.frames,
        frames=() if order is None else order.members,
        shape=first.shape,
        spacing=(between, *first.place.pixel_spacing),
        modality=first.modality,
        photometric=first.photometric,
        transfer_syntax=first.syntax,
        patient=first.ids[0],
        study=first.ids[1],
        series=first.ids[2],
        others=first.others,
        problems=tuple(Problem("warning", where, text) for text in texts),
    )
