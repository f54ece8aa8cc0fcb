"""Images made worse step by step: noise, blur, motion, bias field, compression, exposure.

Drawn as numbers first, applied afterwards, so that the same image is spoilt the same way again.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

SEVERITIES = (1, 2, 3, 4, 5)
Pixels = NDArray[np.uint8]
Spoil = Callable[[Pixels, int, Generator], Pixels]


@dataclass(frozen=True)
class Fault:
    """One way in which images get worse.

    ``modalities``: whose images it happens to, in lower-case words of the index; None: any.
    ``spoil(pixels, severity, random)`` takes and gives uint8 ``(C, H, W)``.
    """

    summary: str
    modalities: frozenset[str] | None
    spoil: Spoil


def faults_for(modality: str | None) -> tuple[str, ...]:
    """The faults that images of a modality may have; of an unknown one those of any.

    >>> "bias_field" in faults_for("MRI"), "bias_field" in faults_for("X-ray")
    (True, False)
    """
    word = (modality or "").strip().lower()
    return tuple(
        name
        for name, fault in FAULTS.items()
        if fault.modalities is None or any(word.startswith(known) for known in fault.modalities)
    )


def spoilt(pixels: Pixels, fault: str, severity: int, seed: int) -> Pixels:
    """Images ``(n, C, H, W)`` made worse, each by chance of its own number and the seed.

    ``severity`` 1 to 5.

    >>> spoilt(np.full((1, 1, 8, 8), 100, np.uint8), "exposure", 2, 0).shape
    (1, 1, 8, 8)
    """
    spoil = FAULTS[fault].spoil
    made = np.empty_like(pixels)
    for number, image in enumerate(pixels):
        random = np.random.Generator(np.random.Philox(key=[seed, number]))
        made[number] = spoil(image, severity, random)
    return made


def _noise(pixels: Pixels, severity: int, random: Generator) -> Pixels:
    """Gaussian, of a standard deviation of 2, 4, 7, 11 and 16 % of white."""
    spread = 255 * (0.02, 0.04, 0.07, 0.11, 0.16)[severity - 1]
    grey = len(pixels) == 1 or bool((pixels == pixels[:1]).all())
    shape = (1, *pixels.shape[1:]) if grey else pixels.shape
    return _eight_bits(pixels + random.normal(0, spread, shape))


def _blur(pixels: Pixels, severity: int, random: Generator) -> Pixels:
    """Gaussian, as wide as 1/128 to 5/128 of the image's side."""
    del random
    width = severity * pixels.shape[-1] / 128
    return _eight_bits(ndimage.gaussian_filter(pixels.astype(np.float64), (0, width, width)))


def _motion(pixels: Pixels, severity: int, random: Generator) -> Pixels:
    """A mean along a short way in a direction drawn at random: 2 to 10 % of the side."""
    angle = random.uniform(0, np.pi)
    length = 0.02 * severity * pixels.shape[-1]
    steps = np.linspace(-0.5, 0.5, 9) * length
    moved = [
        ndimage.shift(
            pixels.astype(np.float64),
            (0, step * np.sin(angle), step * np.cos(angle)),
            order=1,
            mode="nearest",
        )
        for step in steps
    ]
    return _eight_bits(np.mean(moved, axis=0))


def _bias_field(pixels: Pixels, severity: int, random: Generator) -> Pixels:
    """Brighter on one side, by 10 to 50 %, as coils make it: a smooth factor."""
    height, width = pixels.shape[1:]
    angle = random.uniform(0, 2 * np.pi)
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    slope = (down * np.sin(angle) + across * np.cos(angle)) / np.sqrt(2)
    return _eight_bits(pixels * (1 + 0.1 * severity * slope))


def _compression(pixels: Pixels, severity: int, random: Generator) -> Pixels:
    """JPEG at quality 50, 30, 18, 10 and 5."""
    del random
    quality = (50, 30, 18, 10, 5)[severity - 1]
    stream = io.BytesIO()
    colour = len(pixels) == 3
    picture = Image.fromarray(pixels.transpose(1, 2, 0) if colour else pixels[0])
    picture.save(stream, "JPEG", quality=quality)
    with Image.open(stream) as packed:
        found = np.asarray(packed)
    return np.ascontiguousarray(found.transpose(2, 0, 1) if colour else found[None])


def _exposure(pixels: Pixels, severity: int, random: Generator) -> Pixels:
    """Too dark or too bright, by chance: a gamma of 1.2, 1.45, 1.75, 2.1 or 2.5, or its inverse."""
    gamma = (1.2, 1.45, 1.75, 2.1, 2.5)[severity - 1]
    power = gamma if random.random() < 0.5 else 1 / gamma
    return _eight_bits(255 * (pixels / 255.0) ** power)


def _eight_bits(values: NDArray[np.float64]) -> Pixels:
    return np.rint(values).clip(0, 255).astype(np.uint8)


# One line a fault: what it is, whose images it happens to, how it is done.
FAULTS: dict[str, Fault] = {
    "noise": Fault("Gaussian noise", None, _noise),
    "blur": Fault("out of focus, or a coarse detector", None, _blur),
    "motion": Fault("the patient or the hand moved", None, _motion),
    "bias_field": Fault(
        "uneven reception", frozenset(("mr", "mri", "flair", "t1", "t2")), _bias_field
    ),
    "compression": Fault("JPEG", None, _compression),
    "exposure": Fault("too dark or too bright", None, _exposure),
}
