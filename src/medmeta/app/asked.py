"""What is asked about: pictures, and volumes whose slices are answered together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medmeta.data.folder import is_litter
from medmeta.data.manifest_table import MANIFEST_SUFFIXES
from medmeta.data.medical import (
    find_scans,
    kind_in_class,
    medical_kind,
    read_slices,
    scan_place,
)
from medmeta.data.preprocess import Preprocessing, prepare
from medmeta.data.readers import read_image
from medmeta.data.scan import Scan
from medmeta.data.signals import NO_SIGNAL, SIGNAL, is_part_of_record, read_signal
from medmeta.data.slices import used_slices
from medmeta.data.slides import scan_slide
from medmeta.data.whole_volumes import NO_VOLUME, read_whole
from medmeta.data.zipped import is_zip, unpacked
from medmeta.errors import DataError, UnreadableImageError


@dataclass(frozen=True)
class Asked:
    """A picture, or a scan; ``path`` is its file, or the folder of a series.

    ``folders`` are those it lies in below what was named, the nearest first. ``file`` is where a
    picture was unpacked to, of a zip.
    """

    path: Path
    folders: tuple[str, ...]
    scan: Scan | None = None
    file: Path | None = None

    @property
    def is_volume(self) -> bool:
        """Whether it may have slices."""
        return self.scan is not None and self.scan.kind != SIGNAL

    def label(self, code: Mapping[str, int]) -> int:
        """The class that its folder is called by, else -1; of a scan, any folder above it."""
        folders = self.folders[:1] if self.scan is None else self.folders
        return next((code[name] for name in folders if name in code), -1)

    def told(self, reason: str) -> str:
        """Why it cannot be read, with the path that the user knows it by."""
        named = (self.file or self.path) if self.scan is None else self.scan.where
        return f"{self.path}: {reason.removeprefix(f'{named}: ')}"

    def read(self, preprocessing: Preprocessing) -> list[NDArray[Any]]:
        """The picture, or the slices that stand for the scan, prepared ``(C, H, W)``.

        One volume ``(C, D, H, W)`` where volumes are taken whole; a signal ``(C, L)``.

        Raises ``UnreadableImageError``, which names it.
        """
        if preprocessing.samples:
            if self.scan is None:
                raise UnreadableImageError(f"{self.file or self.path}: {NO_SIGNAL}")
            return [read_signal(self.scan, preprocessing)]
        if preprocessing.depth:
            if self.scan is None:
                raise UnreadableImageError(f"{self.file or self.path}: {NO_VOLUME}")
            return [read_whole(self.scan, preprocessing)]
        if self.scan is None:
            return [prepare(read_image(self.file or self.path).pixels, preprocessing)]
        numbers = used_slices(self.scan, preprocessing)
        slices = read_slices(self.scan, numbers, preprocessing)
        return [prepare(pixels, preprocessing) for pixels in slices]


@dataclass(frozen=True)
class Found:
    """What was found, and files that can be no part of it, with the reason."""

    asked: tuple[Asked, ...]
    problems: tuple[tuple[Path, str], ...]


def find_asked(paths: Sequence[Path], *, signals: bool = False, tiled: bool = False) -> Found:
    """The files given, and all files below the folders given, in order, each once.

    DICOM files are put together by series. Tables in folders are passed over: manifests, and what
    an earlier call may have written; where ``signals`` are asked about, tables of numbers are such,
    and where tiles are, all pictures are slides.
    Raises ``DataError`` for a path that is not there, or where
    no file is left.
    """
    found: dict[Path, Asked] = {}
    problems: list[tuple[Path, str]] = []
    seen: set[Path] = set()
    for path in paths:
        _refuse_table(path, signals=signals)
        root = unpacked(path) if is_zip(path) else path if path.is_dir() else path.parent
        inside = _files(path, root, signals=signals)
        fresh = [file for file in inside if file not in seen]
        seen.update(fresh)
        listed, wrong = _asked(fresh, path, root, signals=signals, tiled=tiled)
        found.update(listed)
        problems += wrong
    if not found and not problems:
        raise DataError(f"{', '.join(map(str, paths))}: there is no image in it.")
    return Found(tuple(found.values()), tuple(problems))


def _refuse_table(path: Path, *, signals: bool) -> None:
    """Raise ``DataError`` for a table of images, which ``adapt`` takes and this does not."""
    tables = (".npz",) if signals else (".npz", *MANIFEST_SUFFIXES)
    if path.suffix.lower() in tables and path.is_file():
        raise DataError(
            f"{path}: is a table of images; name images themselves, or folders of them, to ask "
            "about."
        )


def _asked(
    files: Sequence[Path], path: Path, root: Path, *, signals: bool, tiled: bool
) -> tuple[dict[Path, Asked], list[tuple[Path, str]]]:
    """What files are, by the first of each, in order; and what can be no part of it."""
    shown = path if is_zip(path) else root  # what was unpacked goes by the zip's name
    kinds = {file: (kind_in_class if signals else medical_kind)(file) for file in files}
    scans, wrong = find_scans([file for file, kind in kinds.items() if kind], root=root)
    problems = [
        (shown / p.where, f"{shown / p.where}: {p.what}") for p in wrong if p.severity == "error"
    ]
    listed: dict[Path, Asked] = {}
    for file in (file for file, kind in kinds.items() if not kind):
        place = shown / file.relative_to(root)
        slide = scan_slide(file, root=root) if tiled else None
        listed[file] = Asked(place, _folders(place, path), slide, file=file)
    for scan in scans:  # two series may lie in one folder, so a scan goes by its first file
        place, first = (shown / p.relative_to(root) for p in (scan_place(scan), scan.files[0]))
        listed[scan.files[0]] = Asked(place, _folders(first, path), scan)
    ordered = sorted(listed.items(), key=lambda item: item[1].path)
    return dict(ordered), problems


def _files(path: Path, root: Path, *, signals: bool) -> list[Path]:
    if path.is_dir() or is_zip(path):
        inside = (p for p in sorted(root.rglob("*")) if p.is_file())
        return [p for p in inside if not _passed_over(p, root, signals=signals)]
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; check the name.")
    return [path]


def _folders(file: Path, given: Path) -> tuple[str, ...]:
    """Names of the folders that a file lies in, up to the one that was given."""
    if given == file:
        return (file.parent.name,)
    inside = file.relative_to(given.parent).parent
    return tuple(reversed(inside.parts)) or (given.name,)


def _passed_over(path: Path, root: Path, *, signals: bool) -> bool:
    """What operating systems leave behind, the table beside the images, samples of a record."""
    if any(is_litter(part) for part in path.relative_to(root).parts) or is_part_of_record(path):
        return True
    table = path.suffix.lower() in MANIFEST_SUFFIXES
    return table and not (signals and kind_in_class(path))
