"""Masks brought to the shape of their prepared pictures, and answers brought back from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.data.preprocess import Preprocessing
from medmeta.errors import DataError

UNLABELLED = 255


@dataclass(frozen=True)
class Placement:
    """Where a picture ``(height, width)`` lies in its prepared square, and what of it is shown.

    ``top``, ``left``, ``shown_height`` and ``shown_width`` are of the square; ``box`` (left, upper,
    right, lower) of the picture.
    """

    top: int
    left: int
    shown_height: int
    shown_width: int
    box: tuple[float, float, float, float]


def placement(height: int, width: int, preprocessing: Preprocessing) -> Placement:
    """The same as ``prepare`` does to pictures.

    >>> placement(8, 4, Preprocessing(size=16))
    Placement(top=0, left=4, shown_height=16, shown_width=8, box=(0.0, 0.0, 4.0, 8.0))
    """
    size = preprocessing.size
    whole = (0.0, 0.0, float(width), float(height))
    if preprocessing.fit == "pad":
        longest = max(height, width)
        new_height = max(1, round(height * size / longest))
        new_width = max(1, round(width * size / longest))
        top, left = (size - new_height) // 2, (size - new_width) // 2
        return Placement(top, left, new_height, new_width, whole)
    if preprocessing.fit == "crop":
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        box = (float(left), float(top), float(left + side), float(top + side))
        return Placement(0, 0, size, size, box)
    return Placement(0, 0, size, size, whole)


def prepare_mask(mask: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """A mask ``(H, W)`` as uint8 ``(size, size)``: each pixel takes the nearest one's label.

    What is added around it is background. Raises ``DataError`` where it is no mask.

    >>> prepare_mask(np.full((8, 4), 2, np.uint8), Preprocessing(size=16))[0, ::5].tolist()
    [0, 2, 2, 0]
    """
    if mask.ndim != 2 or mask.dtype != np.uint8 or 0 in mask.shape:
        raise DataError(f"a mask is uint8 (H, W), not {mask.dtype} {mask.shape}.")
    size = preprocessing.size
    if mask.shape == (size, size):
        return np.ascontiguousarray(mask)
    height, width = mask.shape
    at = placement(height, width, preprocessing)
    picture = Image.fromarray(np.ascontiguousarray(mask))
    nearest = Image.Resampling.NEAREST
    shown = np.asarray(
        picture.resize((at.shown_width, at.shown_height), nearest, box=at.box), dtype=np.uint8
    )
    prepared = np.zeros((size, size), dtype=np.uint8)
    prepared[at.top : at.top + at.shown_height, at.left : at.left + at.shown_width] = shown
    return prepared


def restored(
    values: NDArray[np.float32], height: int, width: int, preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Probabilities ``(K, size, size)`` at the pixels of the picture ``(K, height, width)``.

    Bilinear; pixels that ``crop`` cut off are background (the first of ``K``) for certain.
    """
    at = placement(height, width, preprocessing)
    inside = values[:, at.top : at.top + at.shown_height, at.left : at.left + at.shown_width]
    left, top, right, lower = (round(edge) for edge in at.box)
    found = np.zeros((len(values), height, width), dtype=np.float32)
    found[0] = 1.0
    for number, plane in enumerate(inside):
        picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
        size = (right - left, lower - top)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        found[number, top:lower, left:right] = np.asarray(picture)
    return found
