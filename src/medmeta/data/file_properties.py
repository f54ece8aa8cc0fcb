"""What files tell before their pictures are looked at: size, kind, sides, bits per sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import SourceIndex
from medmeta.data.readers import FORMATS

_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}


def file_properties(index: SourceIndex) -> NDArray[np.float64] | None:
    """``(n, p)``: logarithms of file size and sides, channels, bits, and each kind of file.

    None for a source in one array. Only headers are read; what a file does not tell is 0. Nothing
    in it is of a person.
    """
    if not index.paths:
        return None
    plain = np.array([_of_header(path) for path in index.paths], dtype=np.float64)
    sizes = np.log1p(np.maximum(index.file_sizes, 0))[:, None]
    suffixes = [path.suffix.lower() for path in index.paths]
    kinds = sorted(set(suffixes))
    shown = np.array([[suffix == kind for kind in kinds] for suffix in suffixes], dtype=np.float64)
    return np.concatenate([sizes, plain, shown], axis=1)


def _of_header(path: Path) -> tuple[float, float, float, float]:
    """Width and height (logarithms), channels, bits per sample; of a picture's header."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:  # the header only; pixels are not decoded
            wide, high = image.size
            return (
                float(np.log1p(wide)),
                float(np.log1p(high)),
                float(len(image.getbands())),
                float(_BITS.get(image.mode, 8)),
            )
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return (0.0, 0.0, 0.0, 0.0)  # DICOM, NIfTI and the like
