"""One mask from a picture file: the numbers that are stored, never scaled or smoothed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.data.mask_shape import UNLABELLED
from medmeta.data.readers import FORMATS
from medmeta.errors import DataError

LOSSY = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".webp"))
MOST = 32  # structures; more different numbers are a picture, not a mask
_MAX_PIXELS = 100_000_000
_ORIENTATION_TAG = 0x0112
_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "LA", "RGB", "RGBA")


def read_mask(path: Path, *, clean: bool = False) -> NDArray[np.int64]:
    """The numbers ``(H, W)`` of a mask; of a palette picture its indices.

    ``clean``: a mask of grey levels, as JPEG leaves it, is cut at half of its brightest, to 0 and
    1. Raises ``DataError`` that says what to do, without the file's name.
    """
    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as picture:
            warnings.simplefilter("ignore")
            if picture.width * picture.height > _MAX_PIXELS:
                raise DataError(f"has more than the {_MAX_PIXELS:,} pixels that are read.")
            if picture.mode not in _MODES or getattr(picture, "n_frames", 1) > 1:
                raise DataError("holds no single grey picture of whole numbers; save one as PNG.")
            values = np.asarray(picture)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError("is not there; check the name and the folder.") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        raise DataError(f"cannot be read ({type(error).__name__}); save it as PNG.") from error
    if values.ndim == 3:
        colours = values[..., :3] if values.shape[2] > 2 else values[..., :1]
        if not (colours == colours[..., :1]).all():
            raise DataError(
                "is in colours; save it as a grey PNG with a number for each structure."
            )
        values = colours[..., 0]
    whole: NDArray[np.int64] = np.asarray(values, dtype=np.int64)
    if clean:
        return np.asarray(whole * 2 > whole.max(initial=0), dtype=np.int64)
    if path.suffix.lower() in LOSSY:
        different = len(np.unique(whole))
        if different > 2:
            raise DataError(
                f"is saved with loss and has {different} different grey levels where a mask has a "
                "few; save masks as PNG, or have them cut at half by --clean-masks."
            )
    return whole


def named_values(
    values: Iterable[int], declared: Mapping[int, str] | None = None
) -> dict[int, str]:
    """What the numbers of masks stand for; 0 is background, and 255 beside others is not labelled.

    Of two numbers, the one that is not 0 is the structure. Raises ``DataError`` for a number that
    is not ``declared``, or for so many that this cannot be a mask.

    >>> named_values([0, 255]), named_values([0, 1, 2])
    ({255: 'structure'}, {1: '1', 2: '2'})
    """
    marked = sorted({int(value) for value in values} - {0})
    if marked and marked[0] < 0:
        raise DataError(f"holds the number {marked[0]}; masks are of 0 and above.")
    if declared is not None:
        stray = [value for value in marked if value not in declared and value != UNLABELLED]
        if stray:
            raise DataError(
                f"holds the number {stray[0]}, which is not among the {len(declared)} structures "
                "that are declared; mend the mask, or declare it."
            )
        return dict(declared)
    if len(marked) == 1:
        return {marked[0]: "structure"}
    marked = [value for value in marked if value != UNLABELLED]
    if len(marked) > MOST:
        raise DataError(
            f"masks hold {len(marked)} different numbers, more than the {MOST} structures there "
            "may be: they look like pictures, or were saved with loss; have them cut at half by "
            "--clean-masks, or declare the structures."
        )
    if marked == [1]:
        return {1: "structure"}
    return {value: str(value) for value in marked}


def upright_size(path: Path) -> tuple[int, int]:
    """``(height, width)`` of a picture as it is read, from its header."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            turned = picture.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
            width, height = picture.size
    except Exception as error:  # decoders of damaged files raise almost anything
        raise DataError(
            f"lies on an image that cannot be read ({type(error).__name__})."
        ) from error
    return (width, height) if turned else (height, width)


def numbered(
    mask: NDArray[np.int64], names: Mapping[int, str], structures: Sequence[str]
) -> NDArray[np.uint8]:
    """A mask's numbers as those of a source: 1 and on in the order of ``structures``."""
    found = np.zeros(mask.shape, dtype=np.uint8)
    if UNLABELLED not in names:
        found[mask == UNLABELLED] = UNLABELLED
    for value, name in names.items():
        found[mask == value] = list(structures).index(name) + 1
    return found
