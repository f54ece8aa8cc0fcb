"""What is in a source and what is wrong with it, found before anything is learned from it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.bit_depth import grey_if_equal
from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.data.inspected_files import (
    InspectedFile,
    files_among,
    inspect_tree,
    is_plain_tree,
)
from medmeta.data.medical import read_slices
from medmeta.data.preprocess import Preprocessing, content_hash
from medmeta.data.readers import read_image
from medmeta.data.reading import bare_reason, map_ahead
from medmeta.data.scan import Scan
from medmeta.data.sources import ScannedSource, row_name, survey
from medmeta.data.zipped import is_zip, unpacked
from medmeta.errors import UnreadableImageError

_SHOWN = 10


@dataclass(frozen=True)
class Duplicates:
    """Sets of identical pictures.

    ``groups`` counts the sets, ``images`` the pictures in them; ``across_classes`` the sets whose
    pictures are labelled differently. ``pairs`` names two of a set, differently labelled first.
    """

    groups: int
    images: int
    within_class: int
    across_classes: int
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Inspection:
    """What a source holds: counts by name, of the images that can be read.

    ``values`` and ``sizes`` have ``smallest``, ``median`` and ``largest`` (sizes as height, width);
    ``patients`` has ``known`` (how many), ``unknown_images`` and ``in_several_classes``. A volume
    counts as one image, and is looked at by its middle slice. ``files`` tell of each DICOM or
    NIfTI file, and of what else lies among them, whether it was read.
    """

    name: str
    kind: str
    images: int
    classes: dict[str, int]
    values: dict[str, float] | None
    patients: dict[str, int]
    sites: dict[str, int]
    modalities: dict[str, int]
    splits: dict[str, int]
    sizes: dict[str, tuple[int, int]]
    grey: int
    colour: int
    bit_depths: dict[str, int]
    duplicates: Duplicates
    problems: tuple[Problem, ...]
    files: tuple[InspectedFile, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether nothing stands in the way of learning from it."""
        return not any(p.severity == "error" for p in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; its paths are for the user's own terminal."""
        told = {**dataclasses.asdict(self), "files": [file.to_dict() for file in self.files]}
        return told | {"usable": self.usable}


@dataclass(frozen=True)
class _Seen:
    """What one picture was found to be; ``reason`` where it could not be read.

    ``bit_depth`` 0 is not known.
    """

    size: tuple[int, int] = (0, 0)
    colour: bool = False
    bit_depth: int = 8
    content: int = 0
    reason: str = ""


def inspect_source(path: Path, *, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Read every image of a source once and say what is there.

    Whatever is wrong with single images is among the problems. A folder of DICOM or NIfTI files
    need not be laid out by class. Raises ``DataError`` where the path as a whole is no source.
    """
    if is_zip(path):
        inside = inspect_source(unpacked(path), progress=progress)
        return dataclasses.replace(inside, name=path.stem)
    if is_plain_tree(path):
        return _inspect_plain_tree(path, progress)
    found = survey(path)
    seen = _look(found, progress)
    good = np.array([i for i, s in enumerate(seen) if not s.reason], dtype=np.intp)
    bad = [
        Problem("error", row_name(found.index, i), s.reason) for i, s in enumerate(seen) if s.reason
    ]
    index = found.index.take(good)
    kept = [seen[i] for i in good]
    duplicates = _duplicates(index, np.array([s.content for s in kept], dtype=np.uint64))
    patients = _patients(index)
    remarks = _remarks(index, duplicates, patients)
    return Inspection(
        name=index.name,
        kind=found.kind,
        images=len(index),
        classes={} if index.labels is None else _counts(index.labels),
        values=_spread(index.values),
        patients=patients,
        sites=_counts(index.sites),
        modalities=_counts(index.modalities),
        splits=_counts(index.splits),
        sizes=_sizes([s.size for s in kept]),
        grey=sum(not s.colour for s in kept),
        colour=sum(s.colour for s in kept),
        bit_depths={str(b): n for b, n in sorted(Counter(s.bit_depth for s in kept).items()) if b},
        duplicates=duplicates,
        problems=(*found.index.problems, *bad, *remarks),
        files=files_among(path, found.index) if found.array is None else (),
    )


def _inspect_plain_tree(path: Path, progress: Callable[[int, int], None] | None) -> Inspection:
    root = (path if path.is_dir() else path.parent).resolve()
    tree = inspect_tree(root, None if path.is_dir() else [path.resolve()], progress=progress)
    read = [file for file in tree.files if not file.reason]
    known = {problem.where for problem in tree.problems}
    refused = [
        Problem("warning" if file.kind == "other" else "error", file.path, file.reason)
        for file in tree.files
        if file.reason and file.path not in known
    ]
    modalities = Counter(file.modality for file in read if file.modality)
    return Inspection(
        name=root.name,
        kind="files",
        images=len(read),
        classes={},
        values=None,
        patients={},
        sites={},
        modalities=dict(sorted(modalities.items())),
        splits={},
        sizes=_sizes([(file.shape[-2], file.shape[-1]) for file in read]),
        grey=sum(file.photometric is not None and "MONO" in file.photometric for file in read),
        colour=sum(file.photometric is None or "MONO" not in file.photometric for file in read),
        bit_depths={},
        duplicates=Duplicates(0, 0, 0, 0, ()),
        problems=(*tree.problems, *refused),
        files=tree.files,
    )


def _look(found: ScannedSource, progress: Callable[[int, int], None] | None) -> list[_Seen]:
    n = len(found.index)
    seen: list[_Seen] = []
    looks: Iterable[_Seen]
    if found.array is not None:
        depth = max(1, found.array.depth)  # of volumes, the middle slices
        looks = map(_look_at_array, islice(found.array, depth // 2, None, depth))
    else:
        index = found.index
        rows = zip(index.paths, index.scans or [None] * n, strict=True)
        looks = map_ahead(lambda row: _look_at_file(*row), rows)
    for done, look in enumerate(looks, start=1):
        seen.append(look)
        if progress is not None:
            progress(done, n)
    return seen


def _look_at_array(pixels: NDArray[np.uint8]) -> _Seen:
    colour = pixels.ndim == 3 and grey_if_equal(pixels).ndim == 3
    return _Seen((pixels.shape[0], pixels.shape[1]), colour, 8, content_hash(pixels))


def _look_at_file(path: Path, scan: Scan | None) -> _Seen:
    if scan is not None:
        return _look_at_scan(scan)
    try:
        image = read_image(path)
    except UnreadableImageError as error:
        return _Seen(reason=bare_reason(path, error))
    colour = image.pixels.ndim == 3
    return _Seen(image.size, colour, image.bit_depth, content_hash(image.pixels))


def _look_at_scan(scan: Scan) -> _Seen:
    try:
        (pixels,) = read_slices(scan, [scan.n_slices // 2], Preprocessing())
    except UnreadableImageError as error:
        return _Seen(reason=str(error).removeprefix(f"{scan.where}: "))
    return _Seen((pixels.shape[0], pixels.shape[1]), pixels.ndim == 3, 0, content_hash(pixels))


def _counts(column: Column) -> dict[str, int]:
    """Images by name; names without an image stand with 0."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    return {name: int(count) for name, count in zip(column.names, counts, strict=True)}


def _spread(values: NDArray[np.float32] | None) -> dict[str, float] | None:
    if values is None or not len(values):
        return None
    return {
        "smallest": float(values.min()),
        "median": float(np.median(values)),
        "largest": float(values.max()),
    }


def _sizes(sizes: Sequence[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """By area."""
    if not sizes:
        return {}
    ordered = sorted(sizes, key=lambda s: (s[0] * s[1], s))
    return {"smallest": ordered[0], "median": ordered[len(ordered) // 2], "largest": ordered[-1]}


def _patients(index: SourceIndex) -> dict[str, int]:
    codes = index.patients.codes
    known = codes >= 0
    several = 0
    if index.labels is not None:
        pairs = np.unique(np.stack([codes[known], index.labels.codes[known]]), axis=1)
        several = int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
    return {
        "known": len(np.unique(codes[known])),
        "unknown_images": int((~known).sum()),
        "in_several_classes": several,
    }


def _duplicates(index: SourceIndex, hashes: NDArray[np.uint64]) -> Duplicates:
    targets = index.labels.codes if index.labels is not None else index.values
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    groups = [g for g in np.split(order, np.cumsum(counts)[:-1]) if len(g) > 1]
    groups.sort(key=lambda g: int(g[0]))
    across: list[tuple[int, int]] = []
    within: list[tuple[int, int]] = []
    for group in groups:
        others = group[targets[group] != targets[group[0]]] if targets is not None else group[:0]
        if len(others):
            across.append((int(group[0]), int(others[0])))
        else:
            within.append((int(group[0]), int(group[1])))
    pairs = tuple((row_name(index, a), row_name(index, b)) for a, b in (across + within)[:_SHOWN])
    return Duplicates(len(groups), sum(map(len, groups)), len(within), len(across), pairs)


def _remarks(index: SourceIndex, duplicates: Duplicates, patients: dict[str, int]) -> list[Problem]:
    """What stops nothing, but should be known before the results are believed."""
    said: list[tuple[str, str]] = []
    if duplicates.across_classes:
        what = f"identical pictures under different labels: {duplicates.across_classes}."
        said.append((index.name, what))
    if len(index) and patients["unknown_images"]:
        what = (
            f"the patient of {patients['unknown_images']} images is not known, so one patient may "
            "be learned from and asked about; give a manifest with a patient column."
        )
        said.append((index.name, what))
    if index.labels is not None:
        filled = [name for name, n in _counts(index.labels).items() if n]
        if len(filled) < 2:
            said.append((index.name, "has fewer than two classes; nothing can be told apart."))
        folded = Counter(name.casefold().strip() for name in filled)
        alike = [name for name in filled if folded[name.casefold().strip()] > 1]
        if alike:
            said.append((", ".join(alike), "are written differently, but may be one class."))
    return [Problem("warning", where, what) for where, what in said]
