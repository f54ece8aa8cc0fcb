"""Pictures with masks as a source: found, paired, and read as their pictures are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import SourceIndex
from medmeta.data.listing import ScannedSource
from medmeta.data.mask_archive import read_masked_archive
from medmeta.data.mask_files import named_values, numbered, read_mask, upright_size
from medmeta.data.mask_listing import Pairs, survey_pairs
from medmeta.data.mask_shape import UNLABELLED, prepare_mask
from medmeta.data.mask_volumes import read_volume_mask
from medmeta.data.masked_volumes import masked_volumes
from medmeta.data.medical import slices_of
from medmeta.data.npz import Pictures
from medmeta.data.preprocess import Preprocessing
from medmeta.data.slices import as_slices, spread_slices, used_slices
from medmeta.data.source import Source
from medmeta.data.sources import read_scanned, row_name
from medmeta.data.synthetic_signals import is_synthetic
from medmeta.data.whole_volumes import NO_VOLUME
from medmeta.errors import DataError

_SHOWN = 10


@dataclass(frozen=True)
class _Mask:
    """A mask's numbers ``(H, W)``, or of the slices of a scan, what they stand for, and a note."""

    numbers: NDArray[Any]
    names: Mapping[int, str] | None
    note: str = ""

    def of(self, own: Mapping[int, str], structures: Sequence[str]) -> NDArray[np.uint8]:
        """The numbers as those of a source."""
        return numbered(self.numbers, own if self.names is None else self.names, structures)


def open_mask_source(
    path: Path,
    *,
    preprocessing: Preprocessing,
    cache: Path | None = None,
    skip_bad: bool = False,
    clean: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """List and decode pictures with their masks, which stay in memory.

    ``path`` is a folder with ``images`` and ``masks``, a manifest with a column ``mask``, or an
    npz. ``clean`` cuts masks of grey levels at half. With ``skip_bad`` what has no mask, or one
    that cannot be used, is left out. Raises ``DataError`` that names the picture or the mask.
    """
    if is_synthetic(path):
        from medmeta.data.synthetic_structures import structures_source  # it takes SciPy

        return structures_source(path, preprocessing)
    if path.suffix.lower() == ".npz":
        if preprocessing.depth:
            raise DataError(f"{path}: holds pictures; volumes with masks are NIfTI or DICOM files.")
        archive = read_masked_archive(path)
        found = ScannedSource(archive.index, archive.images, "npz", path)
        masks = _of_archive(archive.masks, preprocessing)
    else:
        pairs = survey_pairs(path, skip_bad=skip_bad)
        read, bad = _read(pairs, preprocessing, clean=clean)
        if bad and not skip_bad:
            raise DataError(_listed(pairs, bad))
        pairs = pairs.without(bad).with_notes(
            [m.numbers for m in read if m.names is None], [m.note for m in read]
        )
        own, structures = _structures(pairs, read)
        if preprocessing.depth:
            index = replace(pairs.found.index, structures=tuple(structures))
            return masked_volumes(
                replace(pairs.found, index=index), lambda row: read[row].of(own, structures),
                preprocessing, cache=cache, skip_bad=skip_bad, progress=progress,
            )  # fmt: skip
        chosen = _marked_slices(pairs.found.index, read, own, preprocessing)
        index = replace(pairs.found.index, structures=tuple(structures), chosen=chosen)
        found = replace(pairs.found, index=index)
        masks = _prepared(as_slices(index, preprocessing), read, own, structures, preprocessing)
    source = read_scanned(
        found, preprocessing=preprocessing, cache=cache, skip_bad=skip_bad, progress=progress
    )
    return replace(source, masks=masks)


@dataclass(frozen=True)
class TrueMasks:
    """Images with their own masks, as they are on disk.

    ``masks`` hold for each image int64 ``(n, H, W)``, or of a picture ``(1, H, W)``: numbers of
    ``structures`` from 1, -1 where nothing is labelled.
    """

    index: SourceIndex
    masks: tuple[NDArray[np.int64], ...]


def read_true_masks(
    path: Path, structures: Sequence[str], *, preprocessing: Preprocessing
) -> TrueMasks:
    """Masks at their images' own size, to hold answers against.

    ``path`` is a folder with ``images`` and ``masks``, or a manifest with a column ``mask``. Raises
    ``DataError`` for a mask that cannot be used, or where none has a structure's name.
    """
    if path.suffix.lower() == ".npz":
        raise DataError(f"{path}: an npz has no files to mark; name images and masks as files.")
    pairs = survey_pairs(path, skip_bad=False)
    read, bad = _read(pairs, preprocessing, clean=False)
    if bad:
        raise DataError(_listed(pairs, bad))
    own, found = _structures(pairs, read)
    missing = [name for name in structures if name not in found]
    if missing:
        raise DataError(
            f"{path}: its masks are of {', '.join(found) or 'nothing'}, and {missing[0]} was "
            f"learned; name its structures in structures.csv as they were when learning."
        )
    number = np.full(256, 0, dtype=np.int64)
    for place, name in enumerate(structures, start=1):
        number[found.index(name) + 1] = place
    number[UNLABELLED] = -1
    masks = []
    for mask in read:
        marked = number[numbered(mask.numbers, mask.names or own, found)]
        masks.append(marked if marked.ndim == 3 else marked[None])
    return TrueMasks(pairs.found.index, tuple(masks))


def _of_archive(masks: Pictures, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    return np.stack([prepare_mask(mask, preprocessing) for mask in masks])


def _read(
    pairs: Pairs, preprocessing: Preprocessing, *, clean: bool
) -> tuple[list[_Mask], dict[int, str]]:
    """The masks that can be used, in order, and what is wrong with the others by row."""
    found, bad = [], {}
    for row, path in enumerate(pairs.files):
        try:
            mask = _one(pairs, row, preprocessing, clean=clean)
            if mask.names is None:
                named_values(np.unique(mask.numbers).tolist(), pairs.declared)
            found.append(mask)
        except DataError as error:
            bad[row] = str(error).removeprefix(f"{path.name}: ")
    return found, bad


def _one(pairs: Pairs, row: int, preprocessing: Preprocessing, *, clean: bool) -> _Mask:
    """One mask of its image's size."""
    index, path = pairs.found.index, pairs.files[row]
    scan = index.scans[row] if index.scans else None
    if preprocessing.depth and (scan is None or slices_of(scan, preprocessing) < 2):
        raise DataError(f"is of no volume: its image {NO_VOLUME}")
    if scan is not None:
        volume = read_volume_mask(path, scan, preprocessing)
        return _Mask(volume.small(), volume.names, volume.note)
    mask = read_mask(path, clean=clean)
    size = upright_size(index.paths[row])
    if mask.shape != size:
        raise DataError(
            f"has {mask.shape[1]} x {mask.shape[0]} pixels, but its image {size[1]} x {size[0]}; "
            "a mask lies on its image pixel by pixel."
        )
    return _Mask(mask, None)


def _listed(pairs: Pairs, bad: Mapping[int, str]) -> str:
    index = pairs.found.index
    lines = [f"{row_name(index, r)}: mask {pairs.files[r].name} {bad[r]}" for r in bad]
    shown = "".join(f"\n  {line}" for line in lines[:_SHOWN])
    more = f"\n  and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return (
        f"{pairs.found.path}: {len(bad)} of {len(index)} masks cannot be used:{shown}{more}\n"
        "Mend or remove them, or leave them out with --skip-bad."
    )


def _structures(pairs: Pairs, masks: list[_Mask]) -> tuple[dict[int, str], list[str]]:
    """What numbers without names stand for, and all structures in order."""
    values: set[int] = set()
    told: list[str] = []
    for mask in masks:
        if mask.names is None:
            values |= set(np.unique(mask.numbers).tolist())
        else:
            told += [name for name in mask.names.values() if name not in told]
    try:
        own = named_values(values, pairs.declared) if values or not told else {}
    except DataError as error:
        raise DataError(f"{pairs.found.path}: {error}") from None
    return own, [*own.values(), *(name for name in told if name not in own.values())]


def _marked_slices(
    index: SourceIndex,
    masks: list[_Mask],
    own: Mapping[int, str],
    preprocessing: Preprocessing,
) -> tuple[tuple[int, ...] | None, ...]:
    """Of each scan the slices to use: those that its mask marks, evenly; others only fill up."""
    if not index.scans:
        return ()
    chosen: list[tuple[int, ...] | None] = []
    for scan, mask in zip(index.scans, masks, strict=True):
        if scan is None:
            chosen.append(None)
            continue
        values = list(own if mask.names is None else mask.names)
        marked = np.flatnonzero(np.isin(mask.numbers, values).any((1, 2))).tolist()
        usual = [n for n in used_slices(scan, preprocessing) if n not in marked]
        first = spread_slices(len(marked), min(preprocessing.slices, len(marked)))
        more = spread_slices(len(usual), min(preprocessing.slices - len(first), len(usual)))
        chosen.append(tuple(sorted([*(marked[i] for i in first), *(usual[i] for i in more)])))
    return tuple(chosen)


def _prepared(
    rows: SourceIndex,
    masks: list[_Mask],
    own: Mapping[int, str],
    structures: list[str],
    preprocessing: Preprocessing,
) -> NDArray[np.uint8]:
    """A mask for each row of a table of slices, ``(n, size, size)``."""
    found = np.zeros((len(rows), preprocessing.size, preprocessing.size), dtype=np.uint8)
    at, before = -1, None
    for row in range(len(rows)):
        scan = rows.scans[row] if rows.scans else None
        if scan is None or scan is not before:  # slices of one scan follow each other
            at, before = at + 1, scan
        numbers, names = masks[at].numbers, masks[at].names
        shown = numbers if scan is None else numbers[int(rows.array_rows[row])]
        marked = numbered(shown, own if names is None else names, structures)
        found[row] = prepare_mask(marked, preprocessing)
    return found
