"""Whole slides and other pictures too large for memory, read region by region."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.data.readers import IMAGE_SUFFIXES, read_image
from medmeta.errors import MedmetaError, MissingExtraError, UnreadableImageError

SLIDE_SUFFIXES = frozenset(
    (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".svslide", ".bif", ".czi")
)
_TIFF_SUFFIXES = frozenset((".tif", ".tiff"))
_MOST_PIXELS = 64_000_000  # of one region as it is read
_CACHE_BYTES = 16_000_000  # of decoded tiles, beside the region itself
_MICRONS = (0.01, 1000.0)  # per pixel, that are believed


@dataclass(frozen=True)
class SlideFile:
    """An open slide: ``(width, height)`` in its own pixels, and how its smaller copies are scaled.

    ``mpp`` are microns per pixel, None where it does not say.
    """

    size: tuple[int, int]
    mpp: float | None
    scales: tuple[float, ...]
    _opened: Any

    def region(self, x: int, y: int, side: tuple[int, int], shown: tuple[int, int]) -> Image.Image:
        """The region ``side`` (width, height) from ``x, y`` on, shown in so many pixels.

        Beyond the slide, and where nothing was scanned, it is white.
        """
        scale = min(side[0] / shown[0], side[1] / shown[1])
        level = max(i for i, s in enumerate(self.scales) if i == 0 or s <= scale * 1.01)
        read = tuple(max(1, round(length / self.scales[level])) for length in side)
        if read[0] * read[1] > _MOST_PIXELS:
            raise UnreadableImageError(
                f"has no copy small enough to look at from so far ({read[0]}×{read[1]} pixels at "
                "once); write it as a pyramid of several levels, or ask for finer tiles."
            )
        found = self._opened.read_region((x, y), level, read)
        if found.mode == "RGBA":
            glass = Image.new("RGB", found.size, (255, 255, 255))
            glass.paste(found, mask=found.getchannel("A"))
            found = glass
        picture: Image.Image = found
        return picture if picture.size == shown else picture.resize(shown, Image.Resampling.BOX)


@contextmanager
def opened_slide(path: Path, mpp: float | None = None) -> Iterator[SlideFile]:
    """Open a slide, or another picture; ``mpp`` is what it is taken for where it does not say.

    Slides and tiled TIFF are read by region; other pictures are decoded whole, within the limits of
    ``readers``. Raises ``UnreadableImageError`` (the reason alone), also for what goes wrong while
    it is open, and ``MissingExtraError``.
    """
    opened: Any = None
    try:
        opened, said, scales = _opened(path)
        believed = said if said is not None else mpp
        yield SlideFile(opened.dimensions, believed, scales, opened)
    except MedmetaError:
        raise
    except MemoryError:
        raise UnreadableImageError("needs more memory than there is.") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        raise UnreadableImageError(
            f"is damaged, cut short or of a kind that is not read ({type(error).__name__}); copy "
            "it again from where it came."
        ) from error
    finally:
        if opened is not None:
            opened.close()


def _opened(path: Path) -> tuple[Any, float | None, tuple[float, ...]]:
    """The open file, its microns per pixel and the scales of its levels."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise UnreadableImageError("there is no such file; check the name and the folder.")
    if suffix in SLIDE_SUFFIXES | _TIFF_SUFFIXES:
        openslide = _library()
        if openslide.OpenSlide.detect_format(str(path)) is not None:
            slide = openslide.OpenSlide(str(path))
            slide.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
            return slide, _said(slide.properties), tuple(slide.level_downsamples)
    if suffix not in IMAGE_SUFFIXES:
        raise UnreadableImageError("is no slide that is read, or is cut short; copy it again.")
    try:
        return _Whole(read_image(path).pixels), None, (1.0,)
    except UnreadableImageError as error:
        raise UnreadableImageError(str(error).removeprefix(f"{path}: ")) from None


def is_slide(path: Path) -> bool:
    """Whether a file is a slide or a tiled TIFF, as far as can be told here."""
    try:
        return _library().OpenSlide.detect_format(str(path)) is not None
    except MissingExtraError:
        return False


def _library() -> Any:
    try:
        import openslide
    except ImportError:
        raise MissingExtraError("openslide", "slides", "reading slides and tiled TIFF") from None
    return openslide


def _said(properties: Any) -> float | None:
    """Microns per pixel, the mean of both directions, where they are said and can be."""
    try:
        sides = [float(properties[f"openslide.mpp-{axis}"]) for axis in "xy"]
    except (KeyError, ValueError):
        return None
    mean = float(np.mean(sides))
    return mean if _MICRONS[0] <= mean <= _MICRONS[1] else None


class _Whole:
    """A picture in memory, asked as a slide is."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._picture = Image.fromarray(pixels).convert("RGB")
        self.dimensions = self._picture.size

    def read_region(self, at: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        """White beyond its edges."""
        found = Image.new("RGB", size, (255, 255, 255))
        box = (*at, min(at[0] + size[0], self.dimensions[0]), min(at[1] + size[1],
                                                                  self.dimensions[1]))  # fmt: skip
        found.paste(self._picture.crop(box), (0, 0))
        return found

    def close(self) -> None:
        """Nothing is open."""
