"""Small volumes with masks that tests make for themselves."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

AFFINE = np.array([[0, -1.5, 0, 7], [2.0, 0, 0, -3], [0, 0, -3.0, 9], [0, 0, 0, 1.0]])
Grey = NDArray[np.uint8]


def balls(
    n: int, seed: int = 0, shape: tuple[int, int, int] = (28, 26, 24), value: int = 1
) -> tuple[list[Grey], list[Grey]]:
    """Dark volumes with a bright ball each, and masks of ``value`` where it is."""
    random = np.random.default_rng(seed)
    images, masks = [], []
    for _ in range(n):
        image = random.integers(20, 60, shape)
        middle = [random.integers(side // 3, side - side // 3) for side in shape]
        at = np.indices(shape) - np.array(middle).reshape(3, 1, 1, 1)
        inside = (at**2).sum(0) <= (min(shape) // 4) ** 2
        image[inside] += 150
        images.append(image.astype(np.uint8))
        masks.append((inside * value).astype(np.uint8))
    return images, masks


def write_volumes(
    folder: Path, n: int = 3, seed: int = 0, affine: NDArray[np.float64] = AFFINE
) -> None:
    """``images/v0.nii.gz`` and ``masks/v0.nii.gz`` and on."""
    images, masks = balls(n, seed)
    for name, volumes in (("images", images), ("masks", masks)):
        (folder / name).mkdir(parents=True)
        for number, volume in enumerate(volumes):
            image = nibabel.Nifti1Image(volume, affine)
            nibabel.save(image, folder / name / f"v{number}.nii.gz")
