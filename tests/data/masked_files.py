"""Small sources with masks that tests make for themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]


def disc(size: int, row: int, column: int, radius: int) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:size, :size]
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def pictures(n: int, size: int = 32, seed: int = 0) -> tuple[Grey, Grey]:
    """Dark pictures ``(n, size, size)`` with a bright disc each, and masks of 1 where it is."""
    random = np.random.default_rng(seed)
    images = random.integers(20, 60, (n, size, size))
    masks = np.zeros((n, size, size), dtype=np.uint8)
    for number in range(n):
        row, column = random.integers(size // 4, 3 * size // 4, 2)
        masks[number][disc(size, int(row), int(column), size // 6)] = 1
    images[masks == 1] += 150
    return images.astype(np.uint8), masks


def write_pairs(
    folder: Path, n: int = 6, size: int = 32, value: int = 255, seed: int = 0
) -> tuple[Grey, Grey]:
    """``images/0.png`` and ``masks/0_mask.png`` and on."""
    images, masks = pictures(n, size, seed)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask * np.uint8(value)).save(folder / "masks" / f"{number}_mask.png")
    return images, masks
