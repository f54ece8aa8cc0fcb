"""Clean copies of DICOM files: a folder in, another folder out, which is whole or not there."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmeta.data.confidentiality import EDITION, Cleaner, Dates
from medmeta.data.dicom_file import DICOMDIR, looks_like_dicom, opened, read_whole
from medmeta.data.dicom_warnings import worth_saying
from medmeta.data.pseudonyms import pseudonym
from medmeta.errors import DataError, MedmetaError, SettingsError, UnreadableImageError
from medmeta.storage import UNFINISHED, explained_disk_errors, write_json

if TYPE_CHECKING:
    from pydicom import Dataset

REPORT = "deidentification.json"
NOT_CLEANED = (
    "Pixels are as they were: whatever is written or shown on a picture is still there, and so is "
    "a comment inside compressed pixel data. No flag does not mean that there is nothing."
)
_SHOWN = 10
_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR, whatever the file is called


@dataclass(frozen=True)
class CleanCopy:
    """A file that was written; ``flags`` say what about it could not be cleaned."""

    original: Path
    file: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Deidentified:
    """What came of a folder: copies, files that could not be cleaned, files of other kinds."""

    folder: Path
    copies: tuple[CleanCopy, ...]
    left_out: tuple[tuple[Path, str], ...]
    not_dicom: tuple[Path, ...]


def deidentify(
    source: Path,
    out: Path,
    *,
    salt: bytes,
    dates: Dates = "remove",
    skip_bad: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Deidentified:
    """Write clean copies of the DICOM files of a folder (or of one file) into a new folder.

    Neither names of files nor of folders are kept. Originals are only read. Raises ``DataError``
    that names what cannot be cleaned (left out and listed with ``skip_bad``), ``SettingsError``
    for a place that would mix the two, ``StorageError`` where the disk refuses; then nothing is
    written.
    """
    files = _files(source)
    _check_place(source, out)
    cleaner = Cleaner(salt, dates=dates)
    copies: list[CleanCopy] = []
    left_out: list[tuple[Path, str]] = []
    others: list[Path] = []
    with explained_disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.mkdtemp(prefix=f".{out.name}.", suffix=UNFINISHED, dir=out.parent)
    try:
        for done, path in enumerate(files):
            progress(done, len(files))
            try:
                copy = _copied(path, Path(beside), cleaner, salt)
            except UnreadableImageError as error:
                left_out.append((path, str(error)))
                continue
            if copy is None:
                others.append(path)
            else:
                copies.append(copy)
        if left_out and not skip_bad:
            raise UnreadableImageError(_listed(source, left_out, len(files)))
        if not copies:
            raise DataError(f"{source}: there is no DICOM file in it that can be cleaned.")
        _finish(Path(beside), out, copies, len(left_out), dates)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Deidentified(out, tuple(copies), tuple(left_out), tuple(others))


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise DataError(f"{source}: there is no such file or folder; check the name.")
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())


def _check_place(source: Path, out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SettingsError(f"--out {out} is there already; name a new folder for the copies.")
    inner, outer = out.resolve(), source.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise SettingsError(
            f"--out {out} and {source} lie within each other; copies and originals are kept apart."
        )


def _copied(path: Path, folder: Path, cleaner: Cleaner, salt: bytes) -> CleanCopy | None:
    """Clean one file; None where it is no picture's or document's DICOM file."""
    if path.name.upper() == DICOMDIR or not looks_like_dicom(path):
        return None
    with opened(path) as file:
        dataset = read_whole(file)
    if _meta(dataset).get("MediaStorageSOPClassUID") == _DIRECTORY:
        return None
    try:
        with warnings.catch_warnings():  # pydicom quotes values in them
            warnings.simplefilter("ignore")
            content, names, flags = _cleaned(dataset, cleaner, salt)
    except MedmetaError:
        raise
    except Exception:  # a damaged header raises almost anything, with what it holds
        raise UnreadableImageError("has a damaged DICOM header; export it again.") from None
    target = _free_name(folder.joinpath(*names[:3], f"{names[3]}.dcm"))
    with explained_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return CleanCopy(path, target.relative_to(folder).as_posix(), flags)


def _cleaned(
    dataset: Dataset, cleaner: Cleaner, salt: bytes
) -> tuple[bytes, list[str], tuple[str, ...]]:
    """The bytes of the copy, pseudonyms to name it by (from patient to instance), and flags."""
    flags = tuple(_flags(dataset))
    names = [
        pseudonym(str(dataset.get(name) or ""), salt)
        for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    ]
    damaged = cleaner.clean(dataset)
    if damaged:
        flags += (f"{damaged} damaged elements were left out.",)
    return _written(dataset), names, flags


def _flags(dataset: Dataset) -> Iterator[str]:
    yield from worth_saying(dataset)
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        yield "has no pixels; what it holds instead was cleaned by its elements' kinds only."


def _written(dataset: Any) -> bytes:
    """The bytes of a data set, with meta information and a preamble of its own.

    Raises ``UnreadableImageError`` where it cannot be written as its transfer syntax asks.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    meta = FileMetaDataset()
    implicit, little = dataset.original_encoding
    usual = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    usual = usual if little else ExplicitVRBigEndian
    meta.TransferSyntaxUID = _meta(dataset).get("TransferSyntaxUID") or usual
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    file = io.BytesIO()
    try:
        dataset.save_as(file, enforce_file_format=True)
    except Exception:  # what was read leniently may not be writable, in many ways
        raise UnreadableImageError(
            "cannot be written as its transfer syntax asks; it is damaged. Export it again."
        ) from None
    return file.getvalue()


def _meta(dataset: Any) -> Any:
    """A file's meta information, or nothing where it has none."""
    found = getattr(dataset, "file_meta", None)
    return {} if found is None else found


def _free_name(target: Path) -> Path:
    """A name that no other copy has: two files may say that they are one instance."""
    number, free = 1, target
    while free.exists():
        number += 1
        free = target.with_stem(f"{target.stem}-{number}")
    return free


def _finish(
    beside: Path, out: Path, copies: list[CleanCopy], n_left_out: int, dates: Dates
) -> None:
    """The copies take their place, with a report that says nothing of the originals."""
    report = {
        "profile": f"DICOM PS3.15 {EDITION}, Basic Application Level Confidentiality Profile",
        "dates": dates,
        "not_cleaned": NOT_CLEANED,
        "left_out": n_left_out,
        "files": {copy.file: list(copy.flags) for copy in copies},
    }
    write_json(beside / REPORT, report)
    with explained_disk_errors(out):
        beside.chmod(0o755)
        if out.exists():
            out.rmdir()  # empty, as was checked
        os.rename(beside, out)


def _listed(source: Path, left_out: list[tuple[Path, str]], n_files: int) -> str:
    lines = "".join(f"\n  {path}: {why}" for path, why in left_out[:_SHOWN])
    more = f"\n  and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    return (
        f"{source}: {len(left_out)} of {n_files} files cannot be cleaned:{lines}{more}\n"
        "Nothing was written. Mend or remove them, or leave them out with --skip-bad."
    )
