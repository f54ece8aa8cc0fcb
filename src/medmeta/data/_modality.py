"""How each kind of machine turns anatomy into a picture: noise, shading, contrast, stains.

Everything here takes physical maps (attenuation, Hounsfield units, signal, echo, stain) and returns
pixels ``(C, H, W)`` in 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from medmeta.data._anatomy import Array, Frame, Subject, grid, texture

# Optical densities of haematoxylin and eosin in red, green, blue: Ruifrok and Johnston (2001).
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])


@dataclass(frozen=True)
class Scanner:
    """Settings of one site's machine: factors on gain and noise, blur in pixels of 64, gamma."""

    gain: float
    noise: float
    blur: float
    gamma: float

    @classmethod
    def of(cls, subject: Subject) -> Scanner:
        """Draw the site's machine, with the drift from one patient to the next."""
        rng, drift = subject.scanner, subject.body
        return cls(
            float(rng.uniform(0.88, 1.12) * np.exp(drift.normal(0, 0.06))),
            float(rng.uniform(0.6, 1.4)),
            float(rng.uniform(0.2, 0.7)),
            float(rng.uniform(0.85, 1.2) * np.exp(drift.normal(0, 0.05))),
        )

    def develop(self, picture: Array) -> Array:
        """Gain and gamma, cut off to 0 to 1."""
        shown: Array = np.clip(picture * self.gain, 0, 1) ** self.gamma
        return shown


def x_ray(subject: Subject, attenuation: Array) -> Array:
    """Projection radiograph: Beer-Lambert, scattered light, photon noise, dense shown bright."""
    scanner = Scanner.of(subject)
    scale = subject.size / 64
    primary = np.exp(-attenuation)
    primary = gaussian_filter(primary, scanner.blur * scale)
    scatter = uniform_filter(primary, max(3, subject.size // 4))
    photons = 900 / scanner.noise**2
    counts = subject.grain.poisson(photons * (0.85 * primary + 0.15 * scatter))
    measured = -np.log(np.maximum(counts, 1) / photons)
    low, high = subject.scene.uniform(-0.05, 0.08), subject.scene.uniform(1.35, 1.65)
    return scanner.develop((measured - low) / (high - low))[None]


def ct(subject: Subject, hounsfield: Array) -> Array:
    """Slice: blurred noise as filtered back-projection leaves it, faint rings, soft window."""
    scanner = Scanner.of(subject)
    scale = subject.size / 64
    grain = subject.grain
    noise = gaussian_filter(grain.standard_normal(hounsfield.shape), 0.6) * 2.1
    rings = grain.normal(0, 1, subject.size) * (grain.uniform(size=subject.size) < 0.1)
    y, x = np.indices(hounsfield.shape) - subject.size * 0.5
    ringed = rings[np.minimum(np.hypot(y, x), subject.size - 1).astype(np.intp)]
    field = gaussian_filter(hounsfield, scanner.blur * scale)
    field = field + 14 * scanner.noise * noise + 8 * scanner.noise * ringed
    level, width = subject.scene.uniform(30, 70), subject.scene.uniform(260, 400)
    return scanner.develop(0.5 + (field - level) / width)[None]


def mri(subject: Subject, signal: Array) -> Array:
    """Slice: coil shading (bias field) and Rician noise."""
    scanner = Scanner.of(subject)
    bias = np.exp(0.1 * texture(subject.scene, subject.size, 2))
    shaded = gaussian_filter(signal, scanner.blur * subject.size / 64) * bias
    real, imaginary = 0.045 * scanner.noise * subject.grain.standard_normal((2, *signal.shape))
    return scanner.develop(np.hypot(shaded + real, imaginary))[None]


@dataclass(frozen=True)
class Probe:
    """Fan of an ultrasound probe: distance of its apex above the picture, half its opening."""

    apex: float
    opening: float

    @classmethod
    def any_two(cls, rng: Generator) -> tuple[Probe, Probe]:
        """Two of: a sector (near apex), a curved and an almost linear probe (far apex)."""
        apices = rng.permutation([0.4, 1.3, 7.0])[:2] * rng.uniform(0.85, 1.15, 2)
        first, second = (cls(float(a), float(np.arctan(1.02 / (a + 1.45)))) for a in apices)
        return first, second

    def frame(self, size: int) -> Frame:
        """Body coordinates of each sample (rows along the beam, columns across)."""
        return _fan(size, self.apex, self.opening)[0]

    def convert(self, samples: Array) -> Array:
        """Beam samples to the picture (scan conversion); zero outside of the fan."""
        _, nearest, seen = _fan(len(samples), self.apex, self.opening)
        shown: Array = np.where(seen, samples.ravel()[nearest], 0)
        return shown


@lru_cache(maxsize=32)
def _fan(
    size: int, apex: float, opening: float
) -> tuple[Frame, NDArray[np.intp], NDArray[np.bool_]]:
    """Body coordinates of beam samples; the sample of each pixel; whether it is in the fan."""
    line = (np.arange(size) + 0.5) / size
    radius = (apex + 2 * line)[:, None]
    angle = (opening * (2 * line - 1))[None]
    frame = Frame(radius * np.cos(angle) - apex - 1, radius * np.sin(angle))
    py, px = grid(size)
    row = (np.hypot(py + 1 + apex, px) - apex) / 2 * size - 0.5
    column = (np.arctan2(px, py + 1 + apex) / opening + 1) / 2 * size - 0.5
    rows, columns = np.rint(row).astype(np.intp), np.rint(column).astype(np.intp)
    seen = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    flat = np.clip(rows, 0, size - 1) * size + np.clip(columns, 0, size - 1)
    return frame, flat, seen


def ultrasound(subject: Subject, probe: Probe, echo: Array, passed: Array) -> Array:
    """Fan picture: Rayleigh speckle, loss along the beam, logarithmic compression.

    ``echo`` is the strength of scattering and ``passed`` what of the beam gets to each sample.
    """
    scanner = Scanner.of(subject)
    scale = subject.size / 64
    # Resolution is finer along the beam than across it.
    waves = subject.grain.standard_normal((2, *echo.shape))
    waves = gaussian_filter(waves, (0, 0.5 * scale, 0.9 * scale))
    speckle = np.hypot(*(waves / waves.std()))
    depth = np.linspace(0, 1, subject.size)[:, None]
    loss = np.exp(-subject.scene.uniform(0.3, 1.3) * depth)
    heard = echo * passed * loss * speckle ** (0.5 + 0.35 * scanner.noise)
    span = subject.scene.uniform(3.2, 4.2)
    shown = 1 + np.log(np.maximum(heard, 1e-3) / 1.6) / span
    return probe.convert(scanner.develop(shown))[None]


def bright_field(subject: Subject, haematoxylin: Array, eosin: Array) -> Array:
    """Stained section: stains absorb light by their optical densities."""
    scanner = Scanner.of(subject)
    batch = subject.scanner.normal(0, 0.05, (2, 3)) + subject.body.normal(0, 0.025, (2, 3))
    dye = subject.body.uniform(0.75, 1.25, 2)
    density = np.einsum("s,shw,sc->chw", dye, np.stack([haematoxylin, eosin]), STAINS + batch)
    density = gaussian_filter(density, (0, *2 * (scanner.blur * subject.size / 64,)))
    light = (0.97 - 0.04 * scanner.noise * subject.body.uniform()) * np.exp(-density)
    shown: Array = light + 0.015 * scanner.noise * subject.grain.standard_normal(light.shape)
    return np.clip(shown, 0, 1)


def dermoscope(subject: Subject, melanin: Array, blood: Array, white: Array) -> Array:
    """Polarised photograph of skin: pigments absorb, lamp falls off, noise.

    ``melanin`` and ``blood`` are densities; ``white`` ``(H, W)`` mixes in white or blue-grey haze.
    """
    scanner = Scanner.of(subject)
    tint = 1 + subject.scanner.normal(0, 0.04, 3)
    colours = np.array([[0.35, 0.75, 1.0], [0.12, 0.85, 0.75]])
    density = np.einsum("shw,sc->chw", np.stack([melanin, blood]), colours)
    skin = np.array([0.93, 0.82, 0.74]) * tint
    light = skin[:, None, None] * np.exp(-density)
    haze = np.array([0.72, 0.76, 0.86])[:, None, None]
    light = light * (1 - white) + haze * white
    lamp = 1 + 0.09 * texture(subject.scene, subject.size, 2)
    light = gaussian_filter(light * lamp, (0, *2 * (scanner.blur * subject.size / 64,)))
    grain = 0.018 * scanner.noise * subject.grain.standard_normal(light.shape)
    return scanner.develop(light + grain)
