"""A look at each picture of a source: its size, colour and content, or why it cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.data.bit_depth import grey_if_equal
from medmeta.data.listing import ScannedSource
from medmeta.data.medical import read_slices
from medmeta.data.near_duplicates import THUMBNAIL, Thumbnails, thumbnail
from medmeta.data.preprocess import Preprocessing, content_hash
from medmeta.data.readers import read_image
from medmeta.data.reading import bare_reason, map_ahead
from medmeta.data.scan import Scan
from medmeta.data.signals import AS_THEY_ARE, SIGNAL, read_recording
from medmeta.data.slide_file import is_slide
from medmeta.data.slide_tiles import overview
from medmeta.data.slides import SLIDE
from medmeta.errors import UnreadableImageError

BLANK: Thumbnails = np.zeros((THUMBNAIL, THUMBNAIL), dtype=np.uint8)


@dataclass(frozen=True)
class Seen:
    """What one picture was found to be; ``reason`` where it could not be read.

    ``bit_depth`` 0 is not known.
    """

    size: tuple[int, int] = (0, 0)
    colour: bool = False
    bit_depth: int = 8
    content: int = 0
    reason: str = ""
    thumbnail: Thumbnails = field(default_factory=lambda: BLANK)


def look_at_all(found: ScannedSource, progress: Callable[[int, int], None] | None) -> list[Seen]:
    """A look at every picture of a source, in order; ``progress`` is told how many are done."""
    n = len(found.index)
    seen: list[Seen] = []
    looks: Iterable[Seen]
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


def _look_at_array(pixels: NDArray[np.uint8]) -> Seen:
    colour = pixels.ndim == 3 and grey_if_equal(pixels).ndim == 3
    size = (pixels.shape[0], pixels.shape[1])
    return Seen(size, colour, 8, content_hash(pixels), thumbnail=thumbnail(pixels))


def _look_at_file(path: Path, scan: Scan | None) -> Seen:
    if scan is not None:
        return _look_at_scan(scan)
    try:
        image = read_image(path)
    except UnreadableImageError as error:
        return _look_at_slide(path) if is_slide(path) else Seen(reason=bare_reason(path, error))
    colour = image.pixels.ndim == 3
    content, small = content_hash(image.pixels), thumbnail(image.pixels)
    return Seen(image.size, colour, image.bit_depth, content, thumbnail=small)


def _look_at_scan(scan: Scan) -> Seen:
    if scan.kind == SIGNAL:
        return _look_at_signal(scan)
    if scan.kind == SLIDE:
        return _look_at_slide(scan.files[0])
    try:
        (pixels,) = read_slices(scan, [scan.n_slices // 2], Preprocessing())
    except UnreadableImageError as error:
        return Seen(reason=str(error).removeprefix(f"{scan.where}: "))
    size, content = (pixels.shape[0], pixels.shape[1]), content_hash(pixels)
    return Seen(size, pixels.ndim == 3, 0, content, thumbnail=thumbnail(pixels))


def _look_at_signal(scan: Scan) -> Seen:
    """Its leads and samples; of its middle seconds what tells equal ones."""
    try:
        found = read_recording(scan.files[0], AS_THEY_ARE)
    except UnreadableImageError as error:
        return Seen(reason=str(error))
    leads, samples = found.values.shape
    return Seen((leads, max(samples, scan.shape[1])), False, 0, content_hash(found.values))


def _look_at_slide(path: Path) -> Seen:
    """Its size; by an overview what it shows."""
    try:
        size, pixels = overview(path)
    except UnreadableImageError as error:
        return Seen(reason=str(error))
    return Seen(size, True, 8, content_hash(pixels), thumbnail=thumbnail(pixels))
