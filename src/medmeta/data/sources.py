"""A folder, a manifest or an npz to a source: what is there, and its pictures decoded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from medmeta.data.beside import records_alone, with_beside
from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.data.listing import ScannedSource, errors_of, scan
from medmeta.data.manifest import Asked
from medmeta.data.mask_pairs import refuse_pairs
from medmeta.data.modalities import ModalRow
from medmeta.data.preprocess import Preprocessing, content_hash, prepare
from medmeta.data.reading import Wanted, read_pictures
from medmeta.data.signals import NO_SIGNAL
from medmeta.data.slices import as_slices
from medmeta.data.slides import SLIDE, as_slides, tiles_at_once
from medmeta.data.source import Source
from medmeta.data.store import Decode, Decoded, Store, open_store, store_key
from medmeta.data.synthetic_signals import is_synthetic, synthetic_source
from medmeta.data.whole_volumes import NO_VOLUME, spacing_problems, volumes_of_array
from medmeta.data.zipped import is_zip
from medmeta.errors import DataError, SamplingError, UnreadableImageError

_SHOWN = 10
_IN_MEMORY = (
    "the cache folder cannot be written, so every run decodes the images again; name another "
    "with MEDMETA_CACHE."
)


def open_source(
    path: Path,
    *,
    preprocessing: Preprocessing,
    cache: Path | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
    labelled: bool = True,
    listed: ScannedSource | None = None,
) -> Source:
    """List and decode a source; decoded pictures are kept in ``cache`` and found again there.

    ``listed`` is what a survey of a folder found, where there was one. ``progress`` is called with
    the pictures done and their number. With ``skip_bad`` what cannot be read is left out, with a
    warning in ``index.problems``. Raises ``DataError``, or ``UnreadableImageError`` that names the
    pictures and says why.
    """
    if is_synthetic(path):
        return synthetic_source(path, preprocessing)
    asked = _asked(preprocessing, labelled=labelled)
    found = scan(path, skip_bad=skip_bad, asked=asked, surveyed=listed)
    _check_kind(found, preprocessing)
    if labelled and found.kind == "folder":
        refuse_pairs(path, found.index.class_names)
    source = read_scanned(
        found, preprocessing=preprocessing, cache=cache, skip_bad=skip_bad, progress=progress
    )
    if labelled:
        _check_varied(path, source)
    return source


def _check_varied(path: Path, source: Source) -> None:
    """Values that are all equal are as little to learn from as one class alone."""
    values = source.index.values
    if values is not None and len(values) and not np.ptp(values):
        told = "its one value is" if len(values) == 1 else f"all its {len(values)} values are"
        raise SamplingError(
            f"{path}: {told} {values[0]:g}, so there is nothing to tell apart; add images with "
            "other values."
        )


def read_scanned(
    found: ScannedSource,
    *,
    preprocessing: Preprocessing,
    cache: Path | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """Decode a listed source, as ``open_source`` does."""
    path, errors = found.path, errors_of(found.index.problems)
    if errors:
        lines = [f"{p.where}: {p.what}" for p in errors]
        things = "1 thing stands" if len(errors) == 1 else f"{len(errors)} things stand"
        raise DataError(_listed(f"{path}: {things} in the way", lines))
    if not len(found.index):
        raise DataError(f"{path}: there is no image in it that can be used.")
    if not preprocessing.has_picture:
        return records_alone(found.index, preprocessing)
    depth = 0 if found.array is None else found.array.depth
    for problem in spacing_problems(found.index, preprocessing):
        raise DataError(f"{path}: {problem.what}")
    index = as_slices(as_slides(found.index, preprocessing), preprocessing, depth=depth)
    key = store_key((path.resolve(), *_files(found)), preprocessing, chosen=found.index.chosen)
    decode = _decoder(found, index, preprocessing)
    store = open_store(key, len(index), preprocessing, decode, cache=cache, progress=progress)
    if store.bad and not skip_bad:
        bad = (f"{row_name(index, row)}: {store.bad[row]}" for row in sorted(store.bad))
        lines = list(dict.fromkeys(bad))  # slices of one volume give one reason
        raise UnreadableImageError(
            _listed(f"{path}: {len(lines)} of {len(found.index)} images cannot be read", lines)
        )
    return with_beside(_source(path, index, store), preprocessing)


def _asked(preprocessing: Preprocessing, *, labelled: bool) -> Asked:
    """What a manifest must have for such inputs."""
    record = preprocessing.record if preprocessing.has_record else None
    return Asked(
        modalities=preprocessing.modalities,
        spacing=preprocessing.spacing,
        resample=preprocessing.resample,
        texts=() if record is None else record.names,
        pictures=preprocessing.has_picture,
        labelled=labelled,
    )


def _check_kind(found: ScannedSource, preprocessing: Preprocessing) -> None:
    if preprocessing.modalities and not found.index.parts and preprocessing.has_picture:
        raise DataError(
            f"{found.path}: has no files by modality; name a manifest with the columns "
            f"{', '.join(preprocessing.modalities)}."
        )


def row_name(index: SourceIndex, row: int) -> str:
    """A picture's path from its source's folder, or its row where it lies in an npz.

    A scan goes by the name that its messages have.
    """
    if not index.paths:
        return f"row {row}"
    scan = index.scans[row] if index.scans else None
    if scan is not None:
        return scan.where
    path, root = index.paths[row], index.root
    inside = root is not None and path.is_relative_to(root)
    return path.relative_to(root).as_posix() if root is not None and inside else str(path)


def _listed(title: str, lines: Sequence[str]) -> str:
    shown = "".join(f"\n  {line}" for line in lines[:_SHOWN])
    more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"{title}:{shown}{more}\nMend or remove them, or leave them out with --skip-bad."


def _files(found: ScannedSource) -> tuple[Path, ...]:
    """All files that a source is read from, but the one that names it."""
    index = found.index
    if is_zip(found.path):  # its files lie elsewhere each time
        return ()
    if not index.scans:
        return index.paths
    if index.parts:
        named = [part for row in index.parts for part in row if part is not None]
        return tuple(
            f for part in named for f in ((part,) if isinstance(part, Path) else part.files)
        )
    each = zip(index.paths, index.scans, strict=True)
    return tuple(f for path, scan in each for f in ((path,) if scan is None else scan.files))


def _decoder(found: ScannedSource, index: SourceIndex, preprocessing: Preprocessing) -> Decode:
    """Decodes rows of a table of slices."""
    array = found.array

    def decode(rows: Sequence[int]) -> Generator[Decoded, None, None]:
        if array is None:
            yield from read_pictures(_wanted(index, rows, preprocessing), preprocessing)
            return
        if preprocessing.samples:
            yield from (Decoded(None, reason=NO_SIGNAL) for _ in rows)
            return
        if preprocessing.depth:
            if not array.depth:
                yield from (Decoded(None, reason=NO_VOLUME) for _ in rows)
                return
            numbers = [int(index.array_rows[row]) for row in rows]
            yield from volumes_of_array(iter(array), array.depth, numbers, preprocessing)
            return
        places = iter(int(index.array_rows[row]) for row in rows)
        place = next(places, None)
        for number, pixels in enumerate(array):
            if number == place:
                yield Decoded(prepare(pixels, preprocessing), content_hash(pixels))
                place = next(places, None)

    return decode


def _wanted(
    index: SourceIndex, rows: Sequence[int], preprocessing: Preprocessing
) -> Iterator[Wanted]:
    """Rows one after the other; slices of one NIfTI volume together, for that is read but once."""
    if index.parts:
        yield from (ModalRow(index.parts[row], int(index.array_rows[row])) for row in rows)
        return
    for own, group in groupby(rows, key=lambda row: index.scans[row] if index.scans else None):
        if own is None:
            yield from (index.paths[row] for row in group)
        elif own.kind == "dicom":
            yield from ((own, [int(index.array_rows[row])]) for row in group)
        else:
            numbers = [int(index.array_rows[row]) for row in group]
            step = tiles_at_once(preprocessing) if own.kind == SLIDE else len(numbers)
            yield from ((own, numbers[i : i + step]) for i in range(0, len(numbers), step))


def _source(path: Path, index: SourceIndex, store: Store) -> Source:
    """The source without the pictures that could not be read, and a warning for each."""
    rows = np.setdiff1d(np.arange(len(index)), np.array(sorted(store.bad), dtype=np.int64))
    if not len(rows):
        raise UnreadableImageError(f"{path}: not one of its {len(index)} images can be read.")
    warned = [
        Problem("warning", row_name(index, r), store.bad[r], left_out=True)
        for r in sorted(store.bad)
    ]
    if store.in_memory:
        warned.append(Problem("warning", "cache", _IN_MEMORY))
    warned = list(dict.fromkeys(warned))  # slices of one volume give one reason
    part = index.take(rows)
    if store.bad and part.labels is not None:
        names = part.labels.names
        part = replace(part, labels=Column.from_texts(part.labels.texts()))
        lost = sorted(set(names) - set(part.class_names))
        warned += [Problem("warning", name, "no image of the class is left.") for name in lost]
    part = replace(part, problems=(*index.problems, *warned))
    return Source(part, store.pixels, rows.astype(np.int64), store.hashes[rows])
