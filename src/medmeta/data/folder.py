"""A folder of images, one sub-folder for each class, as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.data.medical import find_scans, kind_in_class
from medmeta.data.readers import IMAGE_SUFFIXES
from medmeta.data.scan import Scan
from medmeta.data.scan_columns import with_scans
from medmeta.data.signals import is_part_of_record
from medmeta.errors import DataError

_LITTER = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"))
_SPLIT_NAMES = frozenset(
    ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
)
_LAYOUT = (
    "expected one sub-folder for each class, with its images in it (benign/1.png, malignant/2.png)"
)

_UNREAD = "the folder may not be read"


def is_litter(name: str) -> bool:
    """Whether a file or folder is one that operating systems leave behind.

    >>> is_litter("Thumbs.db"), is_litter(".DS_Store"), is_litter("notes.txt")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in _LITTER


def read_folder(root: Path) -> SourceIndex:
    """The table of a folder; what is wrong with single files and classes is in its problems.

    Images lie anywhere below their class's folder; DICOM files there are put together by series.
    What operating systems leave behind is passed over. Raises ``DataError`` where the folder is
    not laid out by class at all.
    """
    resolved = root.resolve()
    entries = _entries(resolved)
    classes = [e for e in entries if e.is_dir(follow_symlinks=False)]
    if not entries:
        raise DataError(f"{root}: the folder is empty; {_LAYOUT}.")
    if not classes:
        raise DataError(f"{root}: has no sub-folders; {_LAYOUT}.")
    _refuse_splits(root, classes)
    problems = [
        Problem("error", entry.name, "lies beside the class folders; move it into one, or away.")
        for entry in entries
        if not entry.is_dir(follow_symlinks=False)
    ]
    files: list[Path] = []
    scans: list[Scan | None] = []
    labels: list[str] = []
    for folder in classes:
        name = _shown(folder.name)
        known = len(problems)
        pictures, volumes = _of_class(folder, resolved, problems)
        unread = any(p.what.startswith(_UNREAD) for p in problems[known:])
        if not pictures and not volumes and not unread:  # of what is not read nothing is known
            what = "the class has no image; remove the folder, or put its images into it."
            problems.append(Problem("error", f"{name}/", what))
        files += [*pictures, *(scan.files[0] for scan in volumes)]
        scans += [*(None for _ in pictures), *volumes]
        labels += [name] * (len(pictures) + len(volumes))
    return with_scans(table_of_files(resolved, files, labels, problems), scans)


def _of_class(
    folder: os.DirEntry[str], root: Path, problems: list[Problem]
) -> tuple[list[Path], list[Scan]]:
    """The pictures and the scans below a folder; what is wrong with other files is added."""
    pictures: list[Path] = []
    medical: list[Path] = []
    for entry, wrong in _files(folder, root):
        path = Path(entry.path)
        if wrong:
            problems.append(Problem("error", path.relative_to(root).as_posix(), wrong))
        else:
            (pictures if path.suffix.lower() in IMAGE_SUFFIXES else medical).append(path)
    volumes, unusable = find_scans(medical, root=root)
    problems += unusable
    return pictures, volumes


def table_of_files(
    root: Path, files: list[Path], labels: list[str] | None, problems: list[Problem]
) -> SourceIndex:
    """A table of files, of which nothing is known but their labels, if these are."""
    n = len(files)
    return SourceIndex(
        name=root.name,
        root=root,
        paths=tuple(files),
        array_rows=np.arange(n, dtype=np.int64),
        labels=None if labels is None else Column.from_texts(labels),
        values=None,
        patients=Column.unknown(n),
        sites=Column.unknown(n),
        modalities=Column.unknown(n),
        splits=Column.unknown(n),
        file_sizes=np.array([file.stat().st_size for file in files], dtype=np.int64),
        problems=tuple(problems),
    )


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, without what operating systems leave behind."""
    with os.scandir(folder) as found:
        kept = [e for e in found if not is_litter(e.name)]
    return sorted(kept, key=lambda e: e.name)


def _refuse_splits(root: Path, folders: list[os.DirEntry[str]]) -> None:
    """Refuse train/ and test/ with classes below: they would be taken for classes."""
    if all(
        f.name.lower() in _SPLIT_NAMES and any(e.is_dir() for e in _entries(f)) for f in folders
    ):
        names = ", ".join(f.name for f in folders)
        raise DataError(
            f"{root}: its sub-folders ({names}) are the parts of a split, not classes; name one of "
            "them, or write a manifest (CSV) with the columns path, label and split."
        )


def _files(folder: os.DirEntry[str], root: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Files below a folder, each with what is wrong with it: nothing for pictures and scans."""
    try:
        entries = _entries(folder)
    except OSError as error:
        yield folder, f"{_UNREAD} ({error.strerror}); allow it, or go without it by --skip-bad."
        return
    for entry in entries:
        if entry.is_symlink():
            yield entry, _wrong_link(entry, root)
        elif entry.is_dir():
            yield from _files(entry, root)
        elif not is_part_of_record(Path(entry.path)):
            yield entry, _wrong_file(entry)


def _wrong_file(entry: os.DirEntry[str]) -> str:
    if not entry.is_file():
        return "is not an ordinary file; remove it, or leave it out with --skip-bad."
    path = Path(entry.path)
    if path.suffix.lower() not in IMAGE_SUFFIXES and kind_in_class(path) is None:
        return "is not an image of a kind that is read; remove it, or leave it out with --skip-bad."
    return ""


def _wrong_link(entry: os.DirEntry[str], root: Path) -> str:
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):  # leads nowhere, or in a circle
        return "is a link that leads nowhere; remove it, or leave it out with --skip-bad."
    if not target.is_relative_to(root):
        return "is a link that leaves the folder; copy the file here instead."
    if target.is_dir():
        return "is a link to a folder, which is not followed; copy the images here instead."
    return _wrong_file(entry)


def _shown(name: str) -> str:
    """A folder's name as text, also where the disk holds bytes that are no UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")
