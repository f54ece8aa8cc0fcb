"""What is in a source and what is wrong with it, found before anything is learned from it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.duplicates import (
    Duplicates,
    NearDuplicates,
    duplicates_of,
    near_duplicates_of,
    warnings_of,
)
from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.data.inspected_files import (
    InspectedFile,
    files_among,
    inspect_tree,
    is_plain_tree,
)
from medmeta.data.listing import survey
from medmeta.data.looks import BLANK, look_at_all
from medmeta.data.near_duplicates import THUMBNAIL, Thumbnails
from medmeta.data.sources import row_name
from medmeta.data.zipped import is_zip, unpacked

_MOST_NAMES = 20  # of a column that is told in full


@dataclass(frozen=True)
class Inspection:
    """What a source holds: counts by name, of the images that can be read.

    ``values`` and ``sizes`` have ``smallest``, ``median`` and ``largest`` (sizes as height, width);
    ``patients`` has ``known`` (how many), ``unknown_images`` and ``in_several_classes``;
    ``columns`` are further ones that images can be grouped by (``device``, ``sex``). A volume
    counts as one image, and is looked at by its middle slice. ``files`` tell of each DICOM or
    NIfTI file, and of what else lies among them, whether it was read. ``looks`` are the images'
    thumbnails and content hashes, by which sources are compared.
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
    columns: dict[str, dict[str, int]]
    sizes: dict[str, tuple[int, int]]
    grey: int
    colour: int
    bit_depths: dict[str, int]
    duplicates: Duplicates
    near_duplicates: NearDuplicates
    problems: tuple[Problem, ...]
    files: tuple[InspectedFile, ...] = ()
    looks: tuple[Thumbnails, NDArray[np.uint64]] = (BLANK[None][:0], np.zeros(0, np.uint64))

    @property
    def usable(self) -> bool:
        """Whether nothing stands in the way of learning from it."""
        return not any(p.severity == "error" for p in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; its paths are for the user's own terminal."""
        bare = dataclasses.asdict(dataclasses.replace(self, looks=Inspection.looks, files=()))
        del bare["looks"]
        told = {**bare, "files": [file.to_dict() for file in self.files]}
        return told | {"usable": self.usable}


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
    seen = look_at_all(found, progress)
    good = np.array([i for i, s in enumerate(seen) if not s.reason], dtype=np.intp)
    bad = [
        Problem("error", row_name(found.index, i), s.reason) for i, s in enumerate(seen) if s.reason
    ]
    index = found.index.take(good)
    kept = [seen[i] for i in good]
    hashes = np.array([s.content for s in kept], dtype=np.uint64)
    thumbnails = np.array([s.thumbnail for s in kept], np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
    duplicates = duplicates_of(index, hashes)
    near = near_duplicates_of(index, thumbnails, hashes)
    patients = _patients(index)
    remarks = _remarks(index, duplicates, near, patients)
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
        columns=_columns(index),
        sizes=_sizes([s.size for s in kept]),
        grey=sum(not s.colour for s in kept),
        colour=sum(s.colour for s in kept),
        bit_depths={str(b): n for b, n in sorted(Counter(s.bit_depth for s in kept).items()) if b},
        duplicates=duplicates,
        near_duplicates=near,
        problems=(*found.index.problems, *bad, *remarks),
        files=files_among(path, found.index) if found.array is None else (),
        looks=(thumbnails, hashes),
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
        columns={},
        sizes=_sizes([(file.shape[-2], file.shape[-1]) for file in read]),
        grey=sum(file.photometric is not None and "MONO" in file.photometric for file in read),
        colour=sum(file.photometric is None or "MONO" not in file.photometric for file in read),
        bit_depths={},
        duplicates=Duplicates(0, 0, 0, 0, ()),
        near_duplicates=NearDuplicates(0, 0, 0, 0, ()),
        problems=(*tree.problems, *refused),
        files=tree.files,
    )


def _counts(column: Column) -> dict[str, int]:
    """Images by name; names without an image stand with 0."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    return {name: int(count) for name, count in zip(column.names, counts, strict=True)}


def _columns(index: SourceIndex) -> dict[str, dict[str, int]]:
    """Images by name of the further columns; of those with many names, only how many have one."""
    found = {}
    for name, column in index.others.items():
        if name != "volume":
            few = len(column.names) <= _MOST_NAMES
            found[name] = _counts(column) if few else {"known": int((column.codes >= 0).sum())}
    return found


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


def _remarks(
    index: SourceIndex, duplicates: Duplicates, near: NearDuplicates, patients: dict[str, int]
) -> list[Problem]:
    """What stops nothing, but should be known before the results are believed."""
    said: list[tuple[str, str]] = []
    if duplicates.across_classes:
        what = f"identical pictures under different labels: {duplicates.across_classes}."
        said.append((index.name, what))
    said += [(index.name, text) for text in warnings_of(near)]
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
