"""Slides found among files, and pictures that are cut into tiles as slides are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import SourceIndex
from medmeta.data.preprocess import Preprocessing
from medmeta.data.scan import Scan, where_from
from medmeta.data.slide_file import SLIDE_SUFFIXES
from medmeta.data.slide_tiles import read_tiles, tile_count
from medmeta.errors import DataError, UnreadableImageError

SLIDE: Literal["slide"] = "slide"
_BYTES_AT_ONCE = 1_000_000  # of tiles that are read at once; dozens of such lots are read ahead
_NOT_WHOLE = (
    "is a slide, which is read by tiles: say at how many microns per pixel, --mpp 0.5, and how "
    "many tiles of each, --slices 16."
)
_NO_SLIDE = "is no slide, and tiles of slides are asked for; leave out --mpp and --tile."


def has_slide_name(path: Path) -> bool:
    """Whether a file is a slide by its name."""
    return path.suffix.lower() in SLIDE_SUFFIXES


def scan_slide(path: Path, *, root: Path) -> Scan:
    """A slide that is not opened yet; its labels and what it says of a person stay unread."""
    modality = "SM" if has_slide_name(path) else None
    return Scan(SLIDE, where_from(path, root), (path,), 1, (0, 0), modality=modality)


def as_slides(index: SourceIndex, preprocessing: Preprocessing) -> SourceIndex:
    """The table with every picture as a slide, where tiles are asked for."""
    if not preprocessing.tiled:
        return index
    if not index.paths:
        raise DataError(f"{index.name}: tiles are cut of files, and it holds its pictures itself.")
    root = index.root or Path()
    each = zip(index.paths, index.scans or (None,) * len(index), strict=True)
    scans = tuple(scan or scan_slide(path, root=root) for path, scan in each)
    return replace(index, scans=scans)


def tiles_at_once(preprocessing: Preprocessing) -> int:
    """How many tiles are read by opening a slide once: few large ones, for memory's sake.

    >>> tiles_at_once(Preprocessing(size=64)), tiles_at_once(Preprocessing(size=512))
    (81, 1)
    """
    return max(1, _BYTES_AT_ONCE // (3 * preprocessing.size**2))


def tiles_of(scan: Scan, preprocessing: Preprocessing) -> int:
    """How many tiles a slide has; 1 where that cannot be told, which reading then says."""
    try:
        return tile_count(scan.files[0], preprocessing) if preprocessing.tiled else 1
    except UnreadableImageError:
        return 1


def read_slide(
    scan: Scan, numbers: list[int], preprocessing: Preprocessing
) -> list[NDArray[np.uint8]]:
    """Tiles of a slide by number; raises ``UnreadableImageError`` that names it.

    Also where it is no slide, or where it is asked for as a whole.
    """
    try:
        if scan.kind != SLIDE:
            raise UnreadableImageError(_NO_SLIDE)
        if not preprocessing.tiled:
            raise UnreadableImageError(_NOT_WHOLE)
        return read_tiles(scan.files[0], numbers, preprocessing)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{scan.where}: {error}") from error.__cause__
