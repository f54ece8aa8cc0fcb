"""A whole slide made of pictures: a tiled TIFF pyramid of any size, a tile in memory at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

TILE = 256
MPP = 0.25
_GLASS = (244, 243, 245)
_PARTS = 8  # an eighth of a level's tiles along an axis is glass at each edge


def load_pictures(path: Path, task: str = "glas") -> list[Image.Image]:
    """Histology from an npz of several tasks, as tiles; of an npz without tasks all pictures."""
    with np.load(path, allow_pickle=False) as held:
        pictures: NDArray[np.uint8] = held["images"]
        if "task_names" in held:
            names = [str(name).lower() for name in held["task_names"]]
            wanted = [i for i, name in enumerate(names) if task in name]
            pictures = pictures[np.isin(held["task"], wanted)]
    side = (TILE, TILE)
    return [Image.fromarray(p).convert("RGB").resize(side) for p in pictures[:48]]


def write_slide(path: Path, pictures: list[Image.Image], *, side: int) -> None:
    """A slide of ``side`` × ``side`` pixels at 0.25 µm, JPEG as scanners have it, in levels.

    Its tiles are the pictures in a pseudo-random order, with glass around them; every level is made
    of the pictures halved once more, so that no level is ever in memory.
    """
    # The tiles come encoded by Pillow, but tifffile wants to know of a codec all the same.
    codecs = tifffile.tifffile.imagecodecs  # type: ignore[attr-defined]
    codecs.jpeg_encode = _jpeg
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        level = 0
        while level == 0 or side >> level >= 2 * TILE:
            length = side >> level
            writer.write(
                _tiles(pictures, length, level),
                shape=(length, length, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(1, 1),
                compression="jpeg",
                subfiletype=int(level > 0),
                resolution=(1e4 / MPP / 2**level,) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            level += 1


def _tiles(pictures: list[Image.Image], length: int, level: int) -> Iterator[bytes]:
    """Encoded tiles of a level, row by row; each is made of ``4 ** level`` pictures."""
    n, parts = -(-length // TILE), 2**level
    shrunk = [picture.resize((max(1, TILE // parts),) * 2) for picture in pictures]
    packed: dict[tuple[int, ...], bytes] = {}
    for y in range(n):
        for x in range(n):
            ys, xs = range(y * parts, y * parts + parts), range(x * parts, x * parts + parts)
            chosen = tuple(_chosen(i, j, n * parts, len(pictures)) for i in ys for j in xs)
            if chosen not in packed:
                content = _jpeg(_joined(shrunk, chosen, parts))
                if len(packed) < len(pictures) + 1:  # of the finest level, whose tiles recur
                    packed[chosen] = content
                yield content
            else:
                yield packed[chosen]


def _chosen(y: int, x: int, n: int, pictures: int) -> int:
    """Which picture lies at a tile of the finest level; -1 is glass."""
    edge = n // _PARTS
    if min(y, x) < edge or max(y, x) >= n - edge:
        return -1
    return (y * 7919 + x * 104729 + y * x) % pictures


def _joined(shrunk: list[Image.Image], chosen: tuple[int, ...], parts: int) -> Image.Image:
    tile = Image.new("RGB", (TILE, TILE), _GLASS)
    side = TILE // parts
    for place, number in enumerate(chosen):
        if number >= 0:
            tile.paste(shrunk[number], (place % parts * side, place // parts * side))
    return tile


def _jpeg(tile: Image.Image) -> bytes:
    file = io.BytesIO()
    tile.save(file, "JPEG", quality=80, subsampling=0)
    return file.getvalue()
