"""Slides as scanners' programs write them: tiled TIFF pyramids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


def write_pyramid(
    path: Path, pixels: NDArray[np.uint8], *, mpp: float | None = 0.5, levels: int = 3
) -> Path:
    """``pixels`` ``(H, W, 3)`` with copies of half the size each; ``mpp`` None is not written."""
    tifffile = pytest.importorskip("tifffile", reason="the extra features brings it")
    pytest.importorskip("openslide", reason="the extra slides")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            said = {} if mpp is None else {"resolution": (1e4 / mpp / 2**level,) * 2,
                                           "resolutionunit": "CENTIMETER"}  # fmt: skip
            writer.write(pixels, tile=(64, 64), photometric="rgb", subfiletype=int(level > 0),
                         compression="zlib", metadata=None, **said)  # fmt: skip
            height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
            parts = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
            pixels = np.rint(parts.mean((1, 3))).astype(np.uint8)
    return path


def stained(height: int, width: int, colour: tuple[int, int, int], seed: int = 0,
            grain: int = 25) -> NDArray[np.uint8]:  # fmt: skip
    """Tissue of a colour with some grain."""
    random = np.random.default_rng(seed)
    around = np.array(colour) + random.integers(-grain, grain + 1, (height, width, 1))
    return np.asarray(around.clip(0, 255), dtype=np.uint8)


def on_glass(
    height: int, width: int, piece: NDArray[np.uint8], *, y: int, x: int
) -> NDArray[np.uint8]:
    """White glass with a piece of tissue on it."""
    glass = np.full((height, width, 3), 250, np.uint8)
    glass[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
    return glass
