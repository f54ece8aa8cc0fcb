"""Volumes with masks cut into patches: around what is marked, and beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.data.mask_shape import UNLABELLED
from medmeta.data.medical import read_slices, slices_of
from medmeta.data.preprocess import Preprocessing, content_hash
from medmeta.data.scan import Scan
from medmeta.data.source import Source
from medmeta.data.volume_grid import grid_of, image_on_grid, mask_on_grid
from medmeta.data.whole_volumes import spacing_problems
from medmeta.errors import DataError, UnreadableImageError

BESIDE = 4  # one patch of so many shows nothing marked
_TRIES = 16
Pixels = NDArray[np.uint8]
Place = tuple[int, int, int]
MaskOf = Callable[[int], Pixels]
"""The mask of a row, uint8 ``(n, H, W)``: numbers of the source's structures."""


@dataclass(frozen=True)
class _Cut:
    """The patches of one volume: ``pixels`` ``(P, D, H, W)`` and ``masks`` alike."""

    pixels: Pixels
    masks: Pixels
    content: int


def patches_source(
    index: SourceIndex,
    mask_of: MaskOf,
    preprocessing: Preprocessing,
    *,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """A row for each patch of the volumes of a table; volumes are read one after the other.

    Patches of a volume belong together, as its slices do. Raises ``UnreadableImageError`` for a
    volume that cannot be read unless it may be left out, ``DataError`` for voxels of several sizes.
    """
    for problem in spacing_problems(index, preprocessing):
        raise DataError(f"{index.name}: {problem.what}")
    cuts: list[_Cut] = []
    rows: list[int] = []
    problems: list[Problem] = []
    for row, scan in enumerate(index.scans):
        try:
            assert scan is not None
            cuts.append(_cut(scan, mask_of(row), preprocessing, row))
            rows.append(row)
        except UnreadableImageError as error:
            if not skip_bad:
                raise
            what = str(error).removeprefix(f"{scan.where}: ") if scan else str(error)
            where = scan.where if scan else index.name
            problems.append(Problem("warning", where, what, left_out=True))
        if progress is not None:
            progress(row + 1, len(index))
    if not cuts:
        raise UnreadableImageError(f"{index.name}: not one of its volumes can be read.")
    return _assembled(index, rows, cuts, problems, preprocessing)


def _assembled(
    index: SourceIndex,
    rows: Sequence[int],
    cuts: Sequence[_Cut],
    problems: Sequence[Problem],
    preprocessing: Preprocessing,
) -> Source:
    counts = [len(cut.pixels) for cut in cuts]
    part = index.take(np.repeat(np.array(rows, dtype=np.int64), counts))
    volumes = [f"volume {number}" for number, n in enumerate(counts) for _ in range(n)]
    part = replace(
        part,
        array_rows=np.concatenate([np.arange(n) for n in counts]),
        others={**part.others, "volume": Column.from_texts(volumes)},
        problems=(*part.problems, *problems),
        chosen=(),
    )
    pixels = np.concatenate([cut.pixels for cut in cuts])[:, None]
    # Equal patches (of air) do not make two patients one; equal volumes do.
    hashes = np.repeat(np.array([cut.content for cut in cuts], dtype=np.uint64), counts)
    return Source(
        part,
        np.repeat(pixels, preprocessing.channels, axis=1),
        np.arange(len(pixels)),
        hashes,
        masks=np.concatenate([cut.masks for cut in cuts]),
    )


def _cut(scan: Scan, mask: Pixels, preprocessing: Preprocessing, row: int) -> _Cut:
    slices = grey_slices(scan, preprocessing)
    shown = (len(slices), *slices[0].shape)
    grid = grid_of(scan, (shown[0], shown[1], shown[2]), preprocessing)
    volume = image_on_grid(slices, grid, preprocessing)
    marked = mask_on_grid(mask, grid, preprocessing)
    content = content_hash(volume.reshape(-1, volume.shape[-1]))
    sides = (preprocessing.depth, preprocessing.size, preprocessing.size)
    volume = padded(volume, sides)
    beyond = [(0, max(0, s - n)) for s, n in zip(sides, marked.shape, strict=True)]
    marked = np.pad(marked, beyond, constant_values=UNLABELLED)
    random = np.random.Generator(np.random.Philox(key=[row, 17]))
    places = patch_places(volume, marked, sides, preprocessing.patches, random)
    parts = [tuple(slice(a, a + s) for a, s in zip(p, sides, strict=True)) for p in places]
    return _Cut(
        np.stack([volume[part] for part in parts]),
        np.stack([marked[part] for part in parts]),
        content,
    )


def grey_slices(scan: Scan, preprocessing: Preprocessing) -> list[Pixels]:
    """All slices ``(H, W)`` of a volume; raises ``UnreadableImageError``, also for colours."""
    slices = read_slices(scan, range(slices_of(scan, preprocessing)), preprocessing)
    if any(pixels.ndim != 2 for pixels in slices):
        raise UnreadableImageError(
            f"{scan.where}: is in colour, and volumes with masks are learned in grey."
        )
    return slices


def padded(volume: Pixels, sides: Place) -> Pixels:
    """A volume at least as large as a patch; beyond its end lies what is at the end."""
    beyond = [(0, max(0, s - n)) for s, n in zip(sides, volume.shape, strict=True)]
    return np.pad(volume, beyond, mode="edge") if any(b for _, b in beyond) else volume


def patch_places(
    volume: Pixels, marked: Pixels, sides: Place, count: int, random: np.random.Generator
) -> list[Place]:
    """Where ``count`` patches begin: one of four beside what is marked, the others around it.

    Structures take turns. The first patch of each lies around its middle, the next around what no
    patch has shown yet. Beside it, of several places the one that shows least marked is taken, and
    of these the one with most to see.
    """
    values = [v for v in np.unique(marked).tolist() if v not in (0, UNLABELLED)]
    beside = count // BESIDE if values else count
    covered = np.zeros(marked.shape, dtype=bool)
    found: list[Place] = []
    for number in range(count - beside):
        own = np.flatnonzero(marked == values[number % len(values)])
        new = own[~covered.reshape(-1)[own]]
        chosen = (
            _middle(own, marked.shape)
            if number < len(values)
            else random.choice(new if len(new) else own)
        )
        centre = np.array(np.unravel_index(int(chosen), marked.shape))
        place = _within(centre - np.array(sides) // 2, marked.shape, sides)
        covered[_part(place, sides)] = True
        found.append(place)
    for _ in range(beside):
        tries = [
            _within(np.array([random.integers(0, n) for n in marked.shape]), marked.shape, sides)
            for _ in range(_TRIES)
        ]
        found.append(min(tries, key=lambda place: _worth(volume, marked, place, sides)))
    return found


def _worth(volume: Pixels, marked: Pixels, place: Place, sides: Place) -> tuple[int, float]:
    part = _part(place, sides)
    seen = marked[part]
    return int(((seen > 0) & (seen != UNLABELLED)).sum()), -float(volume[part].std())


def _middle(own: NDArray[np.int64], shape: tuple[int, ...]) -> int:
    """The marked voxel that is nearest to the middle of them all."""
    places = np.stack(np.unravel_index(own, shape))
    apart = np.square(places - places.mean(1, keepdims=True)).sum(0)
    return int(own[int(apart.argmin())])


def _within(first: NDArray[np.int64], shape: tuple[int, ...], sides: Place) -> Place:
    z, y, x = (
        int(np.clip(at, 0, n - side)) for at, n, side in zip(first, shape, sides, strict=True)
    )
    return z, y, x


def _part(place: Place, sides: Place) -> tuple[slice, ...]:
    return tuple(slice(at, at + side) for at, side in zip(place, sides, strict=True))
