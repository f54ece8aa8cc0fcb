"""What a picture looks like before anything is learned: grey levels, colour, sharpness, border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
GREY_BINS = 16
HUE_BINS = 8
BLANK = 2.0  # grey levels of 255: less contrast is no picture
COLOURED = 6.0  # grey levels between channels, in the mean
BORDER = 4
NAMES = ("mean", "contrast", "colour", "fine detail", "coarse detail", "border", "border contrast")


def grey_levels(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalised images ``(n, C, H, W)`` (``as_float``) as grey levels 0 to 255, as they were."""
    return np.asarray((images + 2) * (255 / 4), dtype=np.float32)


def measures(pixels: NDArray[np.float32]) -> Array:
    """``(n, 7)`` of images with grey levels 0 to 255 ``(n, C, H, W)``; columns as in ``NAMES``."""
    grey = pixels.mean(1)
    colour = (pixels.max(1) - pixels.min(1)).mean((1, 2))
    fine = np.abs(np.diff(grey, axis=2)).mean((1, 2)) + np.abs(np.diff(grey, axis=1)).mean((1, 2))
    coarse = _blurred(grey)
    rough = np.abs(np.diff(coarse, axis=2)).mean((1, 2))
    rough = rough + np.abs(np.diff(coarse, axis=1)).mean((1, 2))
    edge = border(grey[:, None])
    columns = (grey.mean((1, 2)), grey.std((1, 2)), colour, fine, rough, edge.mean(1), edge.std(1))
    return np.stack(columns, axis=1).astype(np.float64)


def histograms(pixels: NDArray[np.float32], bins: int = GREY_BINS) -> Array:
    """``(n, bins)``: the shares of grey levels, in bins of equal width.

    >>> histograms(np.zeros((1, 1, 2, 2), np.float32), 2).tolist()
    [[1.0, 0.0]]
    """
    grey = pixels.mean(1).reshape(len(pixels), -1)
    place = np.clip(grey * (bins / 256), 0, bins - 1).astype(np.int64)
    place += bins * np.arange(len(pixels))[:, None]
    counts = np.bincount(place.reshape(-1), minlength=bins * len(pixels))
    return np.asarray(counts.reshape(len(pixels), bins) / grey.shape[1])


def border(pixels: NDArray[np.float32], width: int = BORDER) -> NDArray[np.float32]:
    """The pixels ``(n, P)`` within ``width`` of an edge, at most a quarter of the side.

    >>> border(np.arange(9.0, dtype=np.float32).reshape(1, 1, 3, 3), 1).shape
    (1, 8)
    """
    height, across = pixels.shape[2:]
    w = max(1, min(width, height // 4, across // 4))
    inside = np.zeros((height, across), dtype=bool)
    inside[w : height - w, w : across - w] = True
    return np.asarray(pixels[:, :, ~inside].reshape(len(pixels), -1))


def features(pixels: NDArray[np.float32], *, hues: bool = False) -> Array:
    """All that is measured, and the square roots of the histogram's shares: ``(n, 23)``.

    Differences in detail count by their ratio. With ``hues`` also what colours there are, of images
    with three channels: ``(n, 43)``.
    """
    found = measures(pixels)
    found[:, 3:5] = np.log1p(found[:, 3:5]) * 40
    parts = [found, np.sqrt(histograms(pixels)) * 100]
    if hues and pixels.shape[1] == 3:
        parts.append(opponents(pixels))
    return np.concatenate(parts, axis=1)


def opponents(pixels: NDArray[np.float32]) -> Array:
    """Colours by red less green, and by both less blue: ``(n, 20)``; nothing in grey images.

    Of each the mean, the spread, and the square roots of the shares in 8 bins.
    """
    red, green, blue = (pixels[:, i].astype(np.float64) for i in range(3))
    found = []
    for gap in (red - green, (red + green) / 2 - blue):
        shares = histograms(((gap + 128)[:, None]).astype(np.float32), HUE_BINS)
        found += [gap.mean((1, 2))[:, None], gap.std((1, 2))[:, None], np.sqrt(shares) * 100]
    return np.concatenate(found, axis=1)


def blank(pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which images ``(n, C, H, W)`` have but one grey level, as good as."""
    return np.asarray(pixels.std((2, 3)).max(1) < BLANK)


def coloured(pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which images are in colour."""
    return np.asarray((pixels.max(1) - pixels.min(1)).mean((1, 2)) > COLOURED)


def _blurred(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of squares of 4 × 4 pixels."""
    n, height, width = grey.shape
    h, w = max(1, height // 4) * 4, max(1, width // 4) * 4
    if height < 4 or width < 4:
        return grey
    blocks = grey[:, : min(h, height), : min(w, width)]
    return np.asarray(blocks.reshape(n, h // 4, 4, w // 4, 4).mean((2, 4)))
