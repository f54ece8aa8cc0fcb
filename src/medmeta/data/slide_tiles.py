"""A slide as tiles: where they lie, which of them show tissue, and their pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.data.preprocess import Preprocessing
from medmeta.data.slide_file import SlideFile, opened_slide
from medmeta.data.slide_options import SlideOptions
from medmeta.errors import UnreadableImageError

_CELLS = 8  # of the overview, along a tile's side
_PART = 1024  # pixels along the side of a part of the overview, as it is read
_COARSE = 0.95  # of the slide's own pixels: tiles finer than these would be made up
MOST_TILES = 1_000_000
_PALE, _DARK, _BLACK, _COLOUR = 235, 200, 10, 15  # grey levels


@dataclass(frozen=True)
class Grid:
    """Upper left corners ``(n, 2)`` of tiles, x and y, and the ``side`` of each.

    In the slide's own pixels; row by row.
    """

    corners: NDArray[np.int64]
    side: int

    def __len__(self) -> int:
        return len(self.corners)


def tile_count(path: Path, preprocessing: Preprocessing) -> int:
    """How many tiles of a slide show tissue; raises ``UnreadableImageError``, a reason alone."""
    return len(_grid(path, preprocessing))


def read_tiles(
    path: Path, numbers: Sequence[int], preprocessing: Preprocessing
) -> list[NDArray[np.uint8]]:
    """Tiles ``(size, size, 3)`` by their number among those that show tissue.

    Raises ``UnreadableImageError`` with the reason alone.
    """
    grid, shown = _grid(path, preprocessing), (preprocessing.size,) * 2
    with opened_slide(path, preprocessing.slide_mpp or None) as slide:
        corners = grid.corners[np.asarray(numbers, dtype=np.int64)].tolist()
        side = (grid.side, grid.side)
        return [np.asarray(slide.region(x, y, side, shown)) for x, y in corners]


def overview(path: Path, side: int = 512) -> tuple[tuple[int, int], NDArray[np.uint8]]:
    """A slide's height and width, and the whole of it with its longer side in so many pixels."""
    with opened_slide(path) as slide:
        scale = max(slide.size) / side
        width, height = (max(1, round(length / scale)) for length in slide.size)
        pixels = np.zeros((height, width, 3), np.uint8)
        for y, x, block in _blocks(slide, height, width, scale):
            pixels[y : y + len(block), x : x + block.shape[1]] = block
        return (slide.size[1], slide.size[0]), pixels


def _grid(path: Path, preprocessing: Preprocessing) -> Grid:
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableImageError(f"cannot be read ({error.strerror}).") from None
    cut = {name: getattr(preprocessing, name) for name in ("size", *SlideOptions.model_fields)}
    return _found(path, status.st_mtime_ns, status.st_size, Preprocessing(**cut))


@lru_cache(maxsize=64)
def _found(path: Path, changed: int, length: int, preprocessing: Preprocessing) -> Grid:
    with opened_slide(path, preprocessing.slide_mpp or None) as slide:
        side = _side(slide, preprocessing)
        columns, rows = (_starts(n, side, preprocessing.overlap) for n in slide.size)
        if len(columns) * len(rows) > MOST_TILES:
            raise UnreadableImageError(
                f"has {len(columns)}×{len(rows)} tiles, more than {MOST_TILES:,}; ask for coarser "
                "or larger ones."
            )
        y, x = np.meshgrid(rows, columns, indexing="ij")
        corners = np.stack([x.ravel(), y.ravel()], axis=1)
        if preprocessing.tissue > 0:
            corners = corners[_shares(slide, corners, side) >= preprocessing.tissue]
    if not len(corners):
        raise UnreadableImageError(
            f"shows no tissue: no tile of it has {preprocessing.tissue:.0%} of that. Say a lower "
            "--tissue, or 0 to take all tiles."
        )
    return Grid(corners, side)


def _side(slide: SlideFile, preprocessing: Preprocessing) -> int:
    """The side of a tile in the slide's own pixels."""
    if preprocessing.tile:
        return preprocessing.tile
    if slide.mpp is None:
        raise UnreadableImageError(
            "does not say its microns per pixel; say them with --slide-mpp 0.25, or cut tiles of "
            "so many of its own pixels with --tile 512 in place of --mpp."
        )
    if preprocessing.mpp < _COARSE * slide.mpp:
        raise UnreadableImageError(
            f"has pixels of {slide.mpp:.3g} microns, coarser than the {preprocessing.mpp:g} that "
            "are asked for; ask for these or coarser ones."
        )
    return max(1, round(preprocessing.size * preprocessing.mpp / slide.mpp))


def _starts(length: int, side: int, overlap: float) -> NDArray[np.int64]:
    """Where tiles begin along one axis: evenly, from one edge to the other.

    Neighbours share at least ``overlap`` of their side; a slide smaller than a tile has one.
    """
    step = side * (1 - overlap)
    n = 1 + max(0, int(np.ceil((length - side) / step)))
    return np.rint(np.linspace(0, max(0, length - side), n)).astype(np.int64)


def _shares(slide: SlideFile, corners: NDArray[np.int64], side: int) -> NDArray[np.float64]:
    """The share of each tile that is tissue, by an overview of eight cells along its side."""
    cell = max(1.0, side / _CELLS)
    width, height = (int(np.ceil(length / cell)) for length in slide.size)
    summed = np.zeros((height + 1, width + 1), dtype=np.int64)
    for y, x, block in _blocks(slide, height, width, cell):
        marked = _is_tissue(block)
        summed[y + 1 : y + 1 + len(marked), x + 1 : x + 1 + marked.shape[1]] = marked
    summed = summed.cumsum(0).cumsum(1)
    first = np.rint(corners / cell).astype(np.int64)
    last = np.minimum(np.rint((corners + side) / cell).astype(np.int64), (width, height))
    (left, top), (right, bottom) = first.T, last.T
    inside = summed[bottom, right] - summed[top, right] - summed[bottom, left] + summed[top, left]
    areas = np.maximum(1, (right - left) * (bottom - top))
    return np.asarray(inside / areas, dtype=np.float64)


def _blocks(
    slide: SlideFile, height: int, width: int, cell: float
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """An overview ``(height, width)`` whose pixels are ``cell`` of the slide's, part by part.

    A part is about ``_PART`` pixels wide as it is read, whatever the size of the slide.
    """
    scale = max((s for s in slide.scales if s <= cell * 1.01), default=1.0)
    side = max(1, int(_PART * scale / cell))
    for y in range(0, height, side):
        for x in range(0, width, side):
            rows, columns = min(side, height - y), min(side, width - x)
            region = round(columns * cell), round(rows * cell)
            at = round(x * cell), round(y * cell)
            yield y, x, np.asarray(slide.region(*at, region, (columns, rows)))


def _is_tissue(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Coloured or dark, neither glass (white) nor the scanner's black border."""
    least, most = pixels.min(2).astype(np.int64), pixels.max(2).astype(np.int64)
    stained = (most - least >= _COLOUR) & (least < _PALE)
    return np.asarray((stained | (most < _DARK)) & (most > _BLACK))
