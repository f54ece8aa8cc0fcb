"""One file to one picture of 8 bits; what cannot be read is refused in plain words."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from medmeta.data.bit_depth import (
    deep_rawmode,
    deep_values,
    grey_if_equal,
    keep_byte_order,
    over_black,
    to_eight_bits,
    with_signs,
)
from medmeta.errors import UnreadableImageError

# Named, so that no decoder of Pillow that starts another program (EPS) is ever reached.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "PPM")
# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".webp",
    ".jp2", ".j2k", ".pgm", ".ppm", ".pbm", ".pnm",
))
# fmt: on
_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG = 262
_TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}


@dataclass(frozen=True)
class ReadLimits:
    """What is refused before anything is decoded: pixels of a picture, bytes of a file."""

    max_pixels: int = 100_000_000
    max_bytes: int = 1_000_000_000


@dataclass(frozen=True)
class ReadImage:
    """A picture as it was read.

    ``pixels`` is uint8 ``(H, W)`` or ``(H, W, 3)``. ``bit_depth`` is the number of bits that was
    taken as the picture's full range (32 for floats), ``mode`` Pillow's name for how the file holds
    it.
    """

    pixels: NDArray[np.uint8]
    bit_depth: int
    mode: str

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return (self.pixels.shape[0], self.pixels.shape[1])


_DEFAULT_LIMITS = ReadLimits()


def read_image(path: Path, *, limits: ReadLimits = _DEFAULT_LIMITS) -> ReadImage:
    """Read one picture, upright, as grey or colour of 8 bits.

    Transparency is laid over black. Whole numbers of more than 8 bits are scaled from the smallest
    of 8, 12, 16, ... bits that holds the picture's maximum; floats from their minimum to their
    maximum. Raises ``UnreadableImageError``, which says why and what to do.
    """
    try:
        _check_file(path, limits)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken metadata must not stop a good picture
            return _read(path, limits)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # decoders of damaged files raise almost anything
        raise UnreadableImageError(f"{path}: {_reason(error, limits)}") from error


def _check_file(path: Path, limits: ReadLimits) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UnreadableImageError(
            "there is no such file; check the name and the folder."
        ) from None
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImageError("is a folder, not a picture; name a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError("is not an ordinary file; name a picture.")
    if status.st_size == 0:
        raise UnreadableImageError("is empty (0 bytes); copy it again from where it came.")
    if status.st_size > limits.max_bytes:
        raise UnreadableImageError(
            f"has {status.st_size / 1e6:,.0f} MB, more than the {limits.max_bytes / 1e6:,.0f} MB "
            "that are read; save a smaller picture."
        )


def _reason(error: Exception, limits: ReadLimits) -> str:
    """In plain words, without the file's name."""
    if isinstance(error, Image.DecompressionBombError):
        return _too_many_pixels(limits)
    if isinstance(error, UnidentifiedImageError):
        return (
            "is not a picture, is damaged, or is of a format that is not read; read are "
            "PNG, JPEG, TIFF, BMP, GIF, WebP, JPEG 2000 and PNM. Save it as PNG."
        )
    if isinstance(error, PermissionError):
        return "may not be read; ask for the right to read it."
    if isinstance(error, MemoryError):
        return "needs more memory than there is; save a smaller picture."
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return "is cut short; copy it again from where it came."
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"is damaged or of a kind that is not read ({said}); save it again as PNG."


def _too_many_pixels(limits: ReadLimits) -> str:
    return (
        f"says it has more than the {limits.max_pixels / 1e6:g} megapixels that are read; "
        "save a smaller picture, or cut out the part that matters."
    )


def _read(path: Path, limits: ReadLimits) -> ReadImage:
    # A file, not a path: Pillow would map a plain TIFF, and garble one that lies on its side.
    with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
        _check_header(image, limits)
        mode, deep = image.mode, deep_rawmode(image)
        values: NDArray[Any]
        inverted = _is_white_zero(image) and mode.startswith("I")
        if deep:
            with path.open("rb") as twin, Image.open(twin, formats=FORMATS) as again:
                values = deep_values(image, again, deep)
        else:
            keep_byte_order(image)
            image.load()
            values = with_signs(image, _values(image))
        orientation = _orientation(image)
    bits = 1 if mode == "1" else 8
    if values.dtype != np.uint8:
        values, bits = to_eight_bits(values)
    if inverted:
        values = 255 - values
    pixels = values.astype(np.uint8, copy=False)
    if orientation in _TURNS:
        pixels = _TURNS[orientation](pixels)
    return ReadImage(np.ascontiguousarray(pixels), bits, mode)


def _check_header(image: Image.Image, limits: ReadLimits) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadableImageError("has no pixels; save it again.")
    if width * height > limits.max_pixels:
        raise UnreadableImageError(_too_many_pixels(limits))
    frames = int(getattr(image, "n_frames", 1))
    # A multi-picture JPEG of a telephone is one photograph with its preview and its gain map.
    if frames > 1 and image.format != "MPO":
        raise UnreadableImageError(
            f"holds {frames} pictures (an animation, several pages, or a slide, of which --mpp "
            "takes tiles); save each as a file."
        )


def _is_white_zero(image: Image.Image) -> bool:
    """Whether a TIFF counts from white; Pillow minds that up to 8 bits only."""
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0


def _orientation(image: Image.Image) -> int:
    """How the picture lies, 1 to 8; upright where the file does not say, or says nonsense."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # broken EXIF: as above
        return 1


def _values(image: Image.Image) -> NDArray[Any]:
    """Pixels of a loaded picture: uint8 grey or colour, or whole numbers or floats of one plane."""
    if image.mode.startswith(("I", "F")):
        values = np.array(image)
        key = image.info.get("transparency")
        return np.where(values == key, 0, values) if isinstance(key, int) else values
    if "transparency" in image.info and image.mode in ("1", "L", "RGB", "P"):
        image = image.convert("RGBA")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return over_black(np.asarray(image.convert("RGBA"), dtype=np.uint32), 255).astype(np.uint8)
    grey = image.mode in ("1", "L")
    wanted = "L" if grey else "RGB"
    values = np.asarray(image if image.mode == wanted else image.convert(wanted))
    return values if grey else grey_if_equal(values)
