"""The grid that a volume of masks is learned and marked on, and the way back to its own voxels.

Along each axis the two are related by a line of places, so that images, masks and answers are
brought across axis by axis, and answers plane by plane: memory does not grow with the volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.mask_shape import placement, prepare_mask
from medmeta.data.preprocess import Preprocessing, prepare
from medmeta.data.resampled import HAIR, factors_to_spacing
from medmeta.data.scan import Scan
from medmeta.data.slices import spread_slices
from medmeta.errors import UnreadableImageError

_MOST = 300_000_000  # voxels of a volume at a stated spacing
Line = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class VolumeGrid:
    """``shown`` ``(n, H, W)`` voxels as they are read, and ``size`` ``(D, H', W')`` of the grid.

    ``there``: for each place of the grid along each axis where it lies among the voxels (None: it
    is the slices' own preparation). ``back``: for each voxel along each axis where it lies on the
    grid, NaN where the grid does not reach.
    """

    shown: tuple[int, int, int]
    size: tuple[int, int, int]
    there: tuple[Line, Line, Line] | None
    back: tuple[Line, Line, Line]

    @property
    def as_it_is(self) -> bool:
        """Whether every voxel is a place of the grid."""
        return self.shown == self.size and all(np.array_equal(b, t) for b, t in self._lines())

    def _lines(self) -> Iterable[tuple[Line, Line]]:
        return zip(self.back, self.there or (), strict=self.there is not None)


def grid_of(
    scan: Scan | None, shown: tuple[int, int, int], preprocessing: Preprocessing
) -> VolumeGrid:
    """The grid of a volume with so many voxels as shown.

    In patches it has the volume's own voxels, or all of it at the stated spacing; whole, it is as
    large as the preprocessing says. Raises ``UnreadableImageError`` where the size of voxels is not
    known and must be.
    """
    wanted = preprocessing.spacing_mm
    whole = (preprocessing.depth, preprocessing.size, preprocessing.size)
    if wanted is None and not preprocessing.patches:
        return VolumeGrid(shown, whole, None, _back_of_whole(shown, preprocessing))
    factors = (1.0, 1.0, 1.0) if wanted is None else factors_to_spacing(scan, preprocessing)
    size = whole
    if preprocessing.patches:
        sides = [max(1, round(n / f)) for n, f in zip(shown, factors, strict=True)]
        if math.prod(sides) > _MOST:
            raise UnreadableImageError(
                f"{'it' if scan is None else scan.where}: has {' x '.join(map(str, sides))} voxels "
                f"at {preprocessing.spacing} mm, more than the {_MOST:,} that are read; choose a "
                "larger --spacing."
            )
        size = (sides[0], sides[1], sides[2])
    lines = list(zip(shown, size, factors, strict=True))
    there: list[Line] = [(n - 1) / 2 + (np.arange(m) - (m - 1) / 2) * f for n, m, f in lines]
    back: list[Line] = [
        _reached((m - 1) / 2 + (np.arange(n) - (n - 1) / 2) / f, m) for n, m, f in lines
    ]
    return VolumeGrid(shown, size, (there[0], there[1], there[2]), (back[0], back[1], back[2]))


def _reached(places: Line, side: int) -> Line:
    """Places on the grid; within half a place beyond its ends they are its ends."""
    return np.where(_beyond(places, side), np.nan, np.clip(places, 0, side - 1))


def _back_of_whole(
    shown: tuple[int, int, int], preprocessing: Preprocessing
) -> tuple[Line, Line, Line]:
    n, height, width = shown
    taken = np.array(spread_slices(n, preprocessing.depth))
    numbers, first, counts = np.unique(taken, return_index=True, return_counts=True)
    between = np.interp(np.arange(n), numbers, first + (counts - 1) / 2)
    at = placement(height, width, preprocessing)
    left, upper, right, lower = at.box
    rows = _of_picture(height, (upper, lower), at.top, at.shown_height)
    columns = _of_picture(width, (left, right), at.left, at.shown_width)
    return between, rows, columns


def _of_picture(side: int, box: tuple[float, float], first: int, length: int) -> Line:
    """Where pixels of a picture lie in its prepared square, NaN where they were cut off."""
    begin, end = box
    middles = np.arange(side) + 0.5
    places = (middles - begin) * length / (end - begin) - 0.5
    kept = (middles > begin) & (middles < end)
    return np.where(kept, np.clip(places, 0, length - 1) + first, np.nan)


def image_on_grid(
    slices: Sequence[Pixels], grid: VolumeGrid, preprocessing: Preprocessing
) -> Pixels:
    """Grey slices as one volume uint8 ``(D, H', W')`` on the grid.

    Linear, first smoothed along the axes that lose voxels, one axis after the other; black beyond
    the volume.
    """
    if grid.there is None:
        taken = spread_slices(len(slices), preprocessing.depth)
        one_channel = preprocessing.model_copy(update={"channels": 1})
        return np.stack([prepare(slices[n], one_channel)[0] for n in taken])
    if grid.as_it_is:
        return np.stack(slices)
    from scipy import ndimage  # only where something is resampled, for it takes a while

    volume = np.stack(slices).astype(np.float32)
    for axis, line in enumerate(grid.there):
        step = line[1] - line[0] if len(line) > 1 else 1.0
        if step > 1:
            volume = ndimage.gaussian_filter1d(volume, (step - 1) / 2, axis=axis, mode="nearest")
        volume = _between(volume, line, axis)
    return np.rint(np.clip(volume, 0, 255)).astype(np.uint8)


def mask_on_grid(mask: Pixels, grid: VolumeGrid, preprocessing: Preprocessing) -> Pixels:
    """A mask uint8 ``(n, H, W)`` on the grid: each place takes the nearest voxel's label."""
    if grid.there is None:
        taken = spread_slices(len(mask), preprocessing.depth)
        return np.stack([prepare_mask(mask[n], preprocessing) for n in taken])
    lines = list(zip(grid.there, mask.shape, strict=True))
    # Halves all go up: rounded to even, every other voxel would be taken twice, the next never.
    nearest = [np.clip(np.floor(line + 0.5), 0, n - 1).astype(int) for line, n in lines]
    found = mask[np.ix_(*nearest)].copy()
    for axis, (line, n) in enumerate(lines):
        found[(slice(None),) * axis + (_beyond(line, n),)] = 0
    return found


def restored_slices(planes: Iterable[Probabilities], grid: VolumeGrid) -> Iterator[Probabilities]:
    """Planes ``(K, H', W')`` of the grid, in order, as the slices ``(K, H, W)`` of the volume.

    Linear along each axis. What the grid does not reach is background (the first of ``K``) for
    certain. No more than two planes are held.
    """
    coming = enumerate(planes)
    held: dict[int, Probabilities] = {}
    for place in grid.back[0]:
        if np.isnan(place):
            channels = next(iter(held.values())).shape[0] if held else None
            if channels is None:
                number, plane = next(coming)
                held[number] = plane
                channels = len(plane)
            yield _background(channels, grid)
            continue
        low = int(place)
        high = min(low + 1, grid.size[0] - 1)
        while high not in held:
            number, plane = next(coming)
            held[number] = plane
            held = {k: one for k, one in held.items() if k >= min(low, number)}
        share = np.float32(place - low)
        mixed = held[low] if low == high else (1 - share) * held[low] + share * held[high]
        yield _within(np.asarray(mixed, dtype=np.float32), grid)


def _background(channels: int, grid: VolumeGrid) -> Probabilities:
    found = np.zeros((channels, *grid.shown[1:]), dtype=np.float32)
    found[0] = 1.0
    return found


def _within(plane: Probabilities, grid: VolumeGrid) -> Probabilities:
    rows, columns = grid.back[1], grid.back[2]
    missing = np.isnan(rows)[:, None] | np.isnan(columns)
    lines = [np.where(np.isnan(line), 0, line) for line in (rows, columns)]
    found = np.ascontiguousarray(_between(_between(plane, lines[0], 1), lines[1], 2))
    if missing.any():
        found = np.where(missing, _background(len(plane), grid), found)
    return found


def _beyond(line: Line, side: int) -> NDArray[np.bool_]:
    """Which places lie more than half a voxel beyond the first and the last."""
    return (line < -0.5 - HAIR) | (line > side - 0.5 + HAIR)


def _between(values: NDArray[np.float32], line: Line, axis: int) -> NDArray[np.float32]:
    """Values at places along one axis, linear between neighbours; 0 beyond the ends."""
    side = values.shape[axis]
    if np.array_equal(line, np.arange(side)):
        return values
    low = np.clip(np.floor(line), 0, max(0, side - 2)).astype(int)
    share = np.clip(line - low, 0, 1).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    upper = np.minimum(low + 1, side - 1)
    share, there = share.reshape(shape), (~_beyond(line, side)).reshape(shape)
    found = np.take(values, low, axis) * (1 - share) + np.take(values, upper, axis) * share
    return np.asarray(found * there, dtype=np.float32)
