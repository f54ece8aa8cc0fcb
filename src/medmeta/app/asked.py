"""What is asked about: pictures, and volumes whose slices are answered together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.data.folder import is_litter
from medmeta.data.manifest import MANIFEST_SUFFIXES
from medmeta.data.medical import find_scans, medical_kind, read_slices, scan_place, slices_of
from medmeta.data.preprocess import Preprocessing, prepare
from medmeta.data.readers import read_image
from medmeta.data.scan import Scan
from medmeta.data.slices import chosen_slices
from medmeta.errors import DataError


@dataclass(frozen=True)
class Asked:
    """A picture, or a scan; ``path`` is its file, or the folder of a series.

    ``folders`` are those it lies in below what was named, the nearest first.
    """

    path: Path
    folders: tuple[str, ...]
    scan: Scan | None = None

    def label(self, code: Mapping[str, int]) -> int:
        """The class that its folder is called by, else -1; of a scan, any folder above it."""
        folders = self.folders[:1] if self.scan is None else self.folders
        return next((code[name] for name in folders if name in code), -1)

    def told(self, reason: str) -> str:
        """Why it cannot be read, with the path that the user knows it by."""
        if self.scan is None:
            return reason
        return f"{self.path}: {reason.removeprefix(f'{self.scan.where}: ')}"

    def read(self, preprocessing: Preprocessing) -> list[NDArray[np.uint8]]:
        """The picture, or the slices that stand for the scan, prepared ``(C, H, W)``.

        Raises ``UnreadableImageError``, which names it.
        """
        if self.scan is None:
            return [prepare(read_image(self.path).pixels, preprocessing)]
        numbers = chosen_slices(slices_of(self.scan, preprocessing), preprocessing.slices)
        slices = read_slices(self.scan, numbers, preprocessing)
        return [prepare(pixels, preprocessing) for pixels in slices]


@dataclass(frozen=True)
class Found:
    """What was found, and files that can be no part of it, with the reason."""

    asked: tuple[Asked, ...]
    problems: tuple[tuple[Path, str], ...]


def find_asked(paths: Sequence[Path]) -> Found:
    """The files given, and all files below the folders given, in order, each once.

    DICOM files are put together by series. Tables in folders are passed over: manifests, and what
    an earlier call may have written. Raises ``DataError`` for a path that is not there, or where
    no file is left.
    """
    found: dict[Path, Asked] = {}
    problems: list[tuple[Path, str]] = []
    seen: set[Path] = set()
    for path in paths:
        pictures: list[Path] = []
        medical: list[Path] = []
        for file in _files(path):
            if file not in seen:
                seen.add(file)
                (medical if medical_kind(file) else pictures).append(file)
        root = path if path.is_dir() else path.parent
        scans, wrong = find_scans(medical, root=root)
        problems += [
            (root / p.where, f"{root / p.where}: {p.what}") for p in wrong if p.severity == "error"
        ]
        listed = [Asked(file, _folders(file, path)) for file in pictures]
        listed += [Asked(scan_place(scan), _folders(scan.files[0], path), scan) for scan in scans]
        listed.sort(key=lambda asked: asked.path)
        found.update({_key(asked): asked for asked in listed})
    if not found and not problems:
        raise DataError(f"{', '.join(map(str, paths))}: there is no image in it.")
    return Found(tuple(found.values()), tuple(problems))


def _key(asked: Asked) -> Path:
    """Two series may lie in one folder, so a scan goes by its first file."""
    return asked.path if asked.scan is None else asked.scan.files[0]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        inside = (p for p in sorted(path.rglob("*")) if p.is_file())
        return [p for p in inside if not _passed_over(p.relative_to(path))]
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; check the name.")
    return [path]


def _folders(file: Path, given: Path) -> tuple[str, ...]:
    """Names of the folders that a file lies in, up to the one that was given."""
    if given == file:
        return (file.parent.name,)
    inside = file.relative_to(given.parent).parent
    return tuple(reversed(inside.parts)) or (given.name,)


def _passed_over(path: Path) -> bool:
    """What operating systems leave behind, and the table that may lie beside the images."""
    return path.suffix.lower() in MANIFEST_SUFFIXES or any(is_litter(p) for p in path.parts)
