"""Pictures of more than 8 bits, and of colour with alpha, brought to 8 bits."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.errors import UnreadableImageError

# Full ranges that scanners write; beyond 16 bits there is no custom, so every fourth.
_RANGES = (8, 12, 16, 20, 24, 28, 32)
_BITS_TAG = 258
_PLANAR_TAG = 284
_FORMAT_TAG = 339
_SIGNED = 2
# libtiff gives whole values in this machine's order of bytes, which Pillow would turn once more.
_TURNED_TWICE = {"F;32BF": "F;32NF", "I;32BS": "I;32NS", "I;16BS": "I;16NS"}


def keep_byte_order(image: Image.Image) -> None:
    """Have compressed big-endian TIFF decoded right; to be called before its pixels are."""
    tiles = getattr(image, "tile", None) or []
    if tiles and tiles[0].codec_name == "libtiff":
        image.tile = [  # type: ignore[attr-defined]
            t._replace(args=(_TURNED_TWICE.get(t.args[0], t.args[0]), *t.args[1:])) for t in tiles
        ]


def with_signs(image: Image.Image, values: NDArray[Any]) -> NDArray[Any]:
    """Values of a TIFF of signed bytes, which Pillow takes for unsigned ones."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    signed = set(tags.get(_FORMAT_TAG, ())) == {_SIGNED} and set(tags.get(_BITS_TAG, ())) == {8}
    return values.view(np.int8).astype(np.int32) if signed and values.dtype == np.uint8 else values


def over_black(rgba: NDArray[np.uint32], full: int) -> NDArray[np.uint32]:
    """Lay colour ``(H, W, 4)`` over black; ``full`` is the alpha of what hides all."""
    laid = (rgba[..., :3] * rgba[..., 3:] + full // 2) // full
    return grey_if_equal(laid)


def grey_if_equal(colour: NDArray[Any]) -> NDArray[Any]:
    """A grey picture that is held as colour, or over a palette of greys, is read as grey."""
    red, green, blue = (colour[..., c] for c in range(3))
    return red if np.array_equal(red, green) and np.array_equal(red, blue) else colour


def deep_rawmode(image: Image.Image) -> str:
    """How 16-bit colour lies in the file; empty for anything else."""
    tile = getattr(image, "tile", None)
    args = tile[0].args if tile else ""
    raw = args if isinstance(args, str) else str(args[0]) if args else ""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if tags.get(_PLANAR_TAG, 1) != 1 and max(tags.get(_BITS_TAG, (8,))) > 8:
        raise UnreadableImageError("holds deep colours plane by plane; save it again as PNG.")
    return raw if re.fullmatch(r"(RGB|RGBA|RGBX);16[BLN]|LA;16B", raw) else ""


def deep_values(image: Image.Image, again: Image.Image, raw: str) -> NDArray[np.uint32]:
    """16-bit colour ``(H, W[, 3])``, of which Pillow decodes one byte of two.

    So it is decoded twice, once for each byte: ``again`` is the same file, opened once more.
    """
    high, low = raw, raw[:-1] + ("L" if raw.endswith("B") else "B")
    if raw.endswith("N"):
        high, low = (raw[:-1] + c for c in ("LB" if sys.byteorder == "little" else "BL"))
    if raw.startswith("LA"):  # four bytes to a pixel: grey high, low, alpha high, low
        pairs = _decoded_as(image, "RGBA").astype(np.uint32)
        grey, alpha = pairs[..., 0] * 256 + pairs[..., 1], pairs[..., 2] * 256 + pairs[..., 3]
        return over_black(np.stack([grey] * 3 + [alpha], axis=-1), 65535)
    values = _decoded_as(image, high).astype(np.uint32) * 256 + _decoded_as(again, low)
    if values.shape[2] == 4:
        return over_black(values, 65535)
    key = image.info.get("transparency")
    if isinstance(key, tuple):
        values[(values == np.array(key)).all(axis=2)] = 0
    return grey_if_equal(values)


def _decoded_as(image: Image.Image, raw: str) -> NDArray[np.uint8]:
    """Pixels decoded as if the file held them in another order of bytes."""
    image.tile = [  # type: ignore[attr-defined]
        t._replace(args=raw if isinstance(t.args, str) else (raw, *t.args[1:]))
        for t in image.tile  # type: ignore[attr-defined]
    ]
    image.load()
    return np.array(image)


def to_eight_bits(values: NDArray[Any]) -> tuple[NDArray[np.uint8], int]:
    """Scale whole numbers or floats ``(H, W[, 3])`` to 8 bits; also how many bits they had."""
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise UnreadableImageError(
                "holds values that are not numbers; replace them and save it again."
            )
        low, high = float(values.min()), float(values.max())
        span = (high - low) or 1.0
        return np.rint((values.astype(np.float64) - low) / span * 255).astype(np.uint8), 32
    if int(values.min()) < 0:
        raise UnreadableImageError(
            "holds values below zero, so what is black cannot be known; shift and save it again."
        )
    most = int(values.max())
    bits = next(b for b in _RANGES if most < 2**b)
    if bits <= 16 and not (values % 257).any():  # 8 bits written as 16, however dark
        bits = 16
    full = 2**bits - 1
    wide = values.astype(np.uint32 if bits <= 16 else np.uint64)
    return ((wide * 255 + full // 2) // full).astype(np.uint8), bits
