"""Graded faults of an image: noise, blur, motion, bias field, compression, exposure, contrast.

Each takes floats from 0 to 1 ``(C, H, W)``, a level and random numbers; lengths are shares of the
image's side, so that a level means the same at any size. Five severities each, after Hendrycks
and Dietterich 2019 (their corruptions, levels chosen for medical images of 64 to 224 pixels).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.data.modality_kinds import Kind

SEVERITIES = 5
Picture = NDArray[np.float32]
Worse = NDArray[np.floating[Any]]
_Worsen = Callable[[Picture, float, np.random.Generator], Worse]


@dataclass(frozen=True)
class Distortion:
    """A fault, and its level at severities 1 to 5; ``unit`` says in words what a level is."""

    name: str
    unit: str
    levels: tuple[float, float, float, float, float]
    worsen: _Worsen

    def at(self, severity: int) -> Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]:
        """The fault at a severity: a picture uint8 ``(C, H, W)`` and a seed to a worse one.

        One seed gives the same noise, direction or field at all severities.
        """
        return partial(self._altered, self.levels[severity - 1])

    def _altered(self, level: float, pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        key = np.array([seed, _NUMBER[self.name]], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        worse = self.worsen(pixels.astype(np.float32) / np.float32(255), level, random)
        rounded: NDArray[np.uint8] = np.rint(worse.clip(0, 1) * 255).astype(np.uint8)
        return rounded


def _noise(picture: Picture, level: float, random: np.random.Generator) -> Worse:
    grey = (picture == picture[:1]).all()
    shape = (1, *picture.shape[1:]) if grey else picture.shape
    return picture + level * random.standard_normal(shape, dtype=np.float32)


def _speckle(picture: Picture, level: float, random: np.random.Generator) -> Worse:
    return picture * (1 + level * random.standard_normal(picture.shape[1:], dtype=np.float32))


def _blur(picture: Picture, level: float, random: np.random.Generator) -> Worse:
    from scipy.ndimage import gaussian_filter

    sigma = level * min(picture.shape[1:])
    return np.asarray(gaussian_filter(picture, (0, sigma, sigma), mode="nearest"))


def _motion(picture: Picture, level: float, random: np.random.Generator) -> Worse:
    """The mean over a straight path of this length, in a random direction."""
    from scipy.ndimage import shift

    angle = random.uniform(0, np.pi)
    steps = np.linspace(-0.5, 0.5, 9) * level * min(picture.shape[1:])
    along = np.array([0.0, np.sin(angle), np.cos(angle)])
    moved = [shift(picture, along * step, order=1, mode="nearest") for step in steps]
    return np.asarray(np.mean(moved, axis=0), dtype=np.float32)


def _ghosts(picture: Picture, level: float, random: np.random.Generator) -> Worse:
    """Motion during an MRI: a fainter copy, displaced along the phase direction (rows)."""
    by = int(random.uniform(0.25, 0.75) * picture.shape[1])
    return (picture + level * np.roll(picture, by, axis=1)) / (1 + level / 2)


def _bias_field(picture: Picture, level: float, random: np.random.Generator) -> Worse:
    """Brighter and darker regions, by a smooth field of second degree between exp(∓level)."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in picture.shape[1:]), indexing="ij")
    terms = np.stack([rows, columns, rows * columns, rows**2 - 0.5, columns**2 - 0.5])
    field = np.tensordot(random.standard_normal(len(terms)), terms, 1)
    return np.asarray(picture * np.exp(level * field / np.abs(field).max()), dtype=np.float32)


def _compression(picture: Picture, level: float, random: np.random.Generator) -> Worse:
    planes = np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    grey = len(planes) == 1 or (planes == planes[:1]).all()
    held = io.BytesIO()
    whole = planes[0] if grey else planes.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(whole)).save(held, "JPEG", quality=int(level))
    read = np.asarray(Image.open(held), dtype=np.float32) / 255
    return np.broadcast_to(read[None] if grey else read.transpose(2, 0, 1), picture.shape)


def _exposure(picture: Picture, level: float, random: np.random.Generator) -> Worse:
    """A gamma of exp(level) or exp(-level): too dark or too bright, by chance."""
    return np.asarray(picture ** np.exp(level * random.choice([-1, 1])), dtype=np.float32)


def _contrast(picture: Picture, level: float, random: np.random.Generator) -> Worse:
    middle = picture.mean()
    return np.asarray(middle + (picture - middle) * level, dtype=np.float32)


_ALL = (
    Distortion("noise", "standard deviation, of the grey range", (0.02, 0.05, 0.1, 0.15, 0.25),
               _noise),
    Distortion("speckle", "standard deviation, of the grey level", (0.1, 0.2, 0.35, 0.5, 0.7),
               _speckle),
    Distortion("blur", "standard deviation, of the side", (0.01, 0.02, 0.03, 0.045, 0.06), _blur),
    Distortion("motion", "length, of the side", (0.03, 0.06, 0.1, 0.15, 0.2), _motion),
    Distortion("ghosts", "strength of the copy", (0.1, 0.2, 0.3, 0.45, 0.6), _ghosts),
    Distortion("bias field", "largest logarithm of the gain", (0.2, 0.4, 0.6, 0.9, 1.2),
               _bias_field),
    Distortion("compression", "JPEG quality", (60, 40, 25, 15, 7), _compression),
    Distortion("exposure", "logarithm of the gamma", (0.15, 0.3, 0.5, 0.7, 1.0), _exposure),
    Distortion("contrast", "share that is left", (0.8, 0.65, 0.5, 0.35, 0.2), _contrast),
)  # fmt: skip
_NUMBER = {distortion.name: number for number, distortion in enumerate(_ALL)}

# CT has calibrated grey levels, so no exposure; ultrasound's noise is speckle; MRI moves in ghosts.
APPLY: dict[Kind, tuple[str, ...]] = {
    "x-ray": ("noise", "blur", "motion", "compression", "exposure", "contrast"),
    "CT": ("noise", "blur", "motion", "compression"),
    "MRI": ("noise", "blur", "ghosts", "bias field", "compression", "contrast"),
    "ultrasound": ("speckle", "blur", "motion", "compression", "exposure", "contrast"),
    "OCT": ("speckle", "blur", "motion", "compression", "exposure", "contrast"),
    "photograph": ("noise", "blur", "motion", "compression", "exposure", "contrast"),
    "unknown": ("noise", "blur", "compression", "exposure", "contrast"),
}


def distortions_of(kind: Kind) -> tuple[Distortion, ...]:
    """The faults that images of a kind can have."""
    return tuple(_ALL[_NUMBER[name]] for name in APPLY[kind])
