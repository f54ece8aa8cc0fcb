"""What a path holds: a folder, a manifest, an npz or a zip; its images listed, not yet decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medmeta.data.archive import read_archive
from medmeta.data.folder import is_litter, read_folder
from medmeta.data.index import Problem, SourceIndex
from medmeta.data.manifest import Asked, read_manifest, row_errors
from medmeta.data.manifest_table import MANIFEST_SUFFIXES
from medmeta.data.npz import Pictures
from medmeta.data.zipped import is_zip, unpacked
from medmeta.errors import DataError


@dataclass(frozen=True)
class ScannedSource:
    """What a path holds, before any file of it is decoded: a row for each picture or volume.

    ``array`` are the pictures of an npz, ``(H, W)`` or ``(H, W, 3)`` each; None for files.
    """

    index: SourceIndex
    array: Pictures | None
    kind: Literal["folder", "manifest", "npz"]
    path: Path


def survey(path: Path, asked: Asked | None = None) -> ScannedSource:
    """Recognise a source and list the images in it that can be used.

    What is wrong with the others is in ``index.problems``. ``asked`` says what else a manifest
    must have. Raises ``DataError`` where the path as a whole is no source.
    """
    asked = asked or Asked()
    suffix = path.suffix.lower()
    if is_zip(path):
        return _in_zip(path, asked)
    if path.is_dir():
        return ScannedSource(read_folder(path), None, "folder", path)
    if suffix in MANIFEST_SUFFIXES:
        return ScannedSource(read_manifest(path, asked), None, "manifest", path)
    if suffix == ".npz":
        archive = read_archive(path)
        return ScannedSource(archive.index, archive.images, "npz", path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; check the name.")
    raise DataError(
        f"{path}: is no source of images; name a folder with one sub-folder for each class, a "
        "manifest (.csv, .tsv, .parquet), an .npz, or a .zip of such a folder."
    )


def _in_zip(path: Path, asked: Asked) -> ScannedSource:
    """A zip of a folder with classes or with a manifest, perhaps in a folder of its own."""
    folder = unpacked(path)
    while True:
        inside = [p for p in sorted(folder.iterdir()) if not is_litter(p.name)]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    tables = [p for p in inside if p.is_file() and p.suffix.lower() in MANIFEST_SUFFIXES]
    try:
        index = read_manifest(tables[0], asked) if len(tables) == 1 else read_folder(folder)
    except DataError as error:
        text = str(error).replace(str(tables[0] if len(tables) == 1 else folder), str(path))
        raise type(error)(text) from error.__cause__
    kind: Literal["manifest", "folder"] = "manifest" if len(tables) == 1 else "folder"
    return ScannedSource(replace(index, name=path.stem), None, kind, path)


def scan(
    path: Path,
    *,
    skip_bad: bool = False,
    asked: Asked | None = None,
    surveyed: ScannedSource | None = None,
) -> ScannedSource:
    """Recognise a source and list its images, unless a survey has done so already.

    With ``skip_bad`` whatever cannot be used is left out, with a warning in ``index.problems``.
    Without, a manifest's bad rows raise ``ManifestError`` and a folder's stand as errors there.
    """
    found = surveyed or survey(path, asked)
    errors = errors_of(found.index.problems)
    if skip_bad:
        softened = tuple(
            replace(p, severity="warning", left_out=p.severity == "error")
            for p in found.index.problems
        )
        return replace(found, index=replace(found.index, problems=softened))
    if errors and found.kind == "manifest":
        raise row_errors(path, errors)
    return found


def errors_of(problems: Sequence[Problem]) -> list[Problem]:
    """Those that stand in the way; the others are warnings."""
    return [p for p in problems if p.severity == "error"]
