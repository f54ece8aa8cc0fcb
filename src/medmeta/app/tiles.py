"""Large pictures marked by overlapping tiles, blended; memory grows with the mask alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medmeta.app.mask_predictor import SavedMaskPredictor
from medmeta.data.preprocess import prepare

OVERLAP = 0.25
_TOGETHER = 8


def tiled(predictor: SavedMaskPredictor, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities ``(K + 1, H, W)`` of a picture ``(H, W)`` or ``(H, W, 3)`` at its own scale.

    Tiles overlap by a quarter; where they do, each weighs by how far its own edge is.
    """
    side = predictor.preprocessing.size
    height, width = pixels.shape[:2]
    padding = [(0, max(0, side - height)), (0, max(0, side - width))]
    padded = np.pad(pixels, padding + [(0, 0)] * (pixels.ndim - 2), mode="edge")
    tops, lefts = starts(padded.shape[0], side), starts(padded.shape[1], side)
    places = [(top, left) for top in tops for left in lefts]
    size = len(predictor.structures) + 1
    total = np.zeros((size, *padded.shape[:2]), dtype=np.float32)
    weight, fall = np.zeros(padded.shape[:2], dtype=np.float32), falling(side, side)
    for first in range(0, len(places), _TOGETHER):
        part = places[first : first + _TOGETHER]
        cut = [padded[top : top + side, left : left + side] for top, left in part]
        prepared = np.stack([prepare(tile, predictor.preprocessing) for tile in cut])
        answers = predictor.answer(prepared).probabilities
        for (top, left), answer in zip(part, answers, strict=True):
            rows, columns = slice(top, top + side), slice(left, left + side)
            total[:, rows, columns] += answer * fall
            weight[rows, columns] += fall
    total /= weight
    return total[:, :height, :width]


def starts(length: int, side: int) -> list[int]:
    """Where tiles begin along an axis; the last ends at its end.

    >>> starts(100, 64), starts(64, 64)
    ([0, 36], [0])
    """
    step = max(1, round(side * (1 - OVERLAP)))
    found = list(range(0, max(1, length - side), step))
    return sorted({*found, max(0, length - side)})


def falling(*sides: int) -> NDArray[np.float32]:
    """1 in the middle, falling in a straight line towards the edges of each axis, never zero.

    >>> falling(8)[:3]
    array([0.5, 1. , 1. ], dtype=float32)
    """
    found = np.ones(())
    for side in sides:
        edge = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)) / max(1.0, side * OVERLAP)
        found = found[..., None] * np.minimum(edge, 1.0)
    return np.asarray(found, dtype=np.float32)
