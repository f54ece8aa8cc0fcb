"""A folder, a manifest or an npz to a source: what is there, and its pictures decoded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from medmeta.data.archive import read_archive
from medmeta.data.folder import read_folder
from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.data.manifest import MANIFEST_SUFFIXES, read_manifest, row_errors
from medmeta.data.npz import Pictures
from medmeta.data.preprocess import Preprocessing, content_hash, prepare
from medmeta.data.reading import read_pictures
from medmeta.data.source import Source
from medmeta.data.store import Decode, Decoded, Store, open_store, store_key
from medmeta.errors import DataError, UnreadableImageError

_SHOWN = 10
_IN_MEMORY = (
    "the cache folder cannot be written, so every run decodes the images again; name another "
    "with MEDMETA_CACHE."
)


@dataclass(frozen=True)
class ScannedSource:
    """What a path holds, before any file of it is decoded.

    ``array`` are the pictures of an npz, ``(H, W)`` or ``(H, W, 3)`` each; None for files.
    """

    index: SourceIndex
    array: Pictures | None
    kind: Literal["folder", "manifest", "npz"]
    path: Path


def survey(path: Path) -> ScannedSource:
    """Recognise a source and list the images in it that can be used.

    What is wrong with the others is in ``index.problems``. Raises ``DataError`` where the path as
    a whole is no source.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        return ScannedSource(read_folder(path), None, "folder", path)
    if suffix in MANIFEST_SUFFIXES:
        return ScannedSource(read_manifest(path), None, "manifest", path)
    if suffix == ".npz":
        archive = read_archive(path)
        return ScannedSource(archive.index, archive.images, "npz", path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; check the name.")
    raise DataError(
        f"{path}: is no source of images; name a folder with one sub-folder for each class, a "
        "manifest (.csv, .tsv, .parquet) or an .npz."
    )


def scan(path: Path, *, skip_bad: bool = False) -> ScannedSource:
    """Recognise a source and list its images.

    With ``skip_bad`` whatever cannot be used is left out, with a warning in ``index.problems``.
    Without, a manifest's bad rows raise ``ManifestError`` and a folder's stand as errors there.
    """
    found = survey(path)
    errors = _errors(found.index.problems)
    if skip_bad:
        softened = tuple(replace(p, severity="warning") for p in found.index.problems)
        return replace(found, index=replace(found.index, problems=softened))
    if errors and found.kind == "manifest":
        raise row_errors(path, errors)
    return found


def open_source(
    path: Path,
    *,
    preprocessing: Preprocessing,
    cache: Path | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """List and decode a source; decoded pictures are kept in ``cache`` and found again there.

    ``progress`` is called with the pictures done and their number. With ``skip_bad`` what cannot
    be read is left out, with a warning in ``index.problems``. Raises ``DataError``, or
    ``UnreadableImageError`` that names the pictures and says why.
    """
    found = scan(path, skip_bad=skip_bad)
    index = found.index
    errors = _errors(index.problems)
    if errors:
        lines = [f"{p.where}: {p.what}" for p in errors]
        things = "1 thing stands" if len(errors) == 1 else f"{len(errors)} things stand"
        raise DataError(_listed(f"{path}: {things} in the way", lines))
    if not len(index):
        raise DataError(f"{path}: there is no image in it that can be used.")
    files = (path.resolve(),) if found.array is not None else (path.resolve(), *index.paths)
    key = store_key(files, preprocessing)
    decode = _decoder(found, preprocessing)
    store = open_store(key, len(index), preprocessing, decode, cache=cache, progress=progress)
    if store.bad and not skip_bad:
        lines = [f"{row_name(index, row)}: {store.bad[row]}" for row in sorted(store.bad)]
        raise UnreadableImageError(
            _listed(f"{path}: {len(lines)} of {len(index)} images cannot be read", lines)
        )
    return _source(path, index, store)


def row_name(index: SourceIndex, row: int) -> str:
    """A picture's path from its source's folder, or its row where it lies in an npz."""
    if not index.paths:
        return f"row {row}"
    path, root = index.paths[row], index.root
    inside = root is not None and path.is_relative_to(root)
    return path.relative_to(root).as_posix() if root is not None and inside else str(path)


def _errors(problems: Sequence[Problem]) -> list[Problem]:
    return [p for p in problems if p.severity == "error"]


def _listed(title: str, lines: Sequence[str]) -> str:
    shown = "".join(f"\n  {line}" for line in lines[:_SHOWN])
    more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"{title}:{shown}{more}\nMend or remove them, or leave them out with --skip-bad."


def _decoder(found: ScannedSource, preprocessing: Preprocessing) -> Decode:
    def decode(rows: Sequence[int]) -> Generator[Decoded, None, None]:
        if found.array is None:
            yield from read_pictures((found.index.paths[row] for row in rows), preprocessing)
            return
        for row, pixels in enumerate(found.array):
            if row in rows:
                yield Decoded(prepare(pixels, preprocessing), content_hash(pixels))

    return decode


def _source(path: Path, index: SourceIndex, store: Store) -> Source:
    """The source without the pictures that could not be read, and a warning for each."""
    rows = np.setdiff1d(np.arange(len(index)), np.array(sorted(store.bad), dtype=np.int64))
    if not len(rows):
        raise UnreadableImageError(f"{path}: not one of its {len(index)} images can be read.")
    warned = [Problem("warning", row_name(index, r), store.bad[r]) for r in sorted(store.bad)]
    if store.in_memory:
        warned.append(Problem("warning", "cache", _IN_MEMORY))
    part = index.take(rows)
    if store.bad and part.labels is not None:
        names = part.labels.names
        part = replace(part, labels=Column.from_texts(part.labels.texts()))
        lost = sorted(set(names) - set(part.class_names))
        warned += [Problem("warning", name, "no image of the class is left.") for name in lost]
    part = replace(part, problems=(*index.problems, *warned))
    return Source(part, store.pixels, rows.astype(np.int64), store.hashes[rows])
