"""Ultrasound of soft tissue, drawn along the beams, and nine findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from medmeta.data._anatomy import Array, Frame, Picture, Subject, label_map, texture
from medmeta.data._modality import Probe, ultrasound

STRUCTURES = ("tissue", "finding")


@dataclass(frozen=True)
class Scan:
    """Echo strength of the tissue; ``centre`` and ``radius`` are where a lesion would lie."""

    frame: Frame
    rng: Generator
    echo: Array
    centre: tuple[float, float]
    radius: float

    def lesion(self, *, rough: float, stretch: float = 1.4, spikes: int = 0) -> Array:
        """Depth of the lesion's edge."""
        return self.frame.blob(
            self.rng, self.centre, self.radius, rough=rough, stretch=stretch, spikes=spikes
        )

    def behind(self, shape: Array) -> Array:
        """How much of a shape each sample has above it, along its beam, per unit of depth."""
        above: Array = np.cumsum(shape, axis=0) * 2 / len(shape)
        return above


Finding = Callable[[Scan], tuple[Array, Array, Array]]
"""A scan to its echo, what passes of the beam, and the finding's coverage."""


def draw(subject: Subject, name: str) -> Picture:
    """One picture."""
    rng, body = subject.scene, subject.body
    # Each site has two probes; a patient is scanned with one of them.
    probe = Probe.any_two(subject.scanner)[int(body.integers(2))]
    frame = probe.frame(subject.size)
    tilt = rng.uniform(-0.12, 0.12)
    frame = frame.bent(frame.y + tilt * frame.x, frame.x - tilt * frame.y)
    centre = (rng.uniform(-0.25, 0.35), rng.uniform(-0.4, 0.4))
    scan = Scan(frame, rng, _tissue(frame, rng, body), centre, rng.uniform(0.17, 0.32))
    echo, passed, finding = FINDINGS[name](scan)
    pixels = ultrasound(subject, probe, echo, passed * _ripples(frame, rng))
    tissue = probe.convert(np.ones_like(echo))
    return Picture(pixels, label_map(tissue, probe.convert(finding)))


def _tissue(frame: Frame, rng: Generator, body: Generator) -> Array:
    """Skin, layered fat, and an organ with vessels."""
    coarse = body.uniform(0.1, 0.22)
    echo = body.uniform(0.3, 0.5) * np.exp(coarse * texture(rng, frame.size, 6))
    deep = body.uniform(-0.75, -0.5)
    layer = frame.y + 0.05 * texture(rng, frame.size, 3)
    fat = 0.28 * np.exp(0.5 * np.cos(layer * rng.uniform(30, 45)))
    organ = frame.soft(layer - deep, 2)
    echo = echo * organ + fat * (1 - organ)
    echo = echo + 0.6 * np.exp(-(((layer - deep) / 0.035) ** 2))
    echo = echo + 0.8 * np.exp(-np.maximum(frame.y + 1, 0) / 0.06)
    for _ in range(int(rng.integers(0, 4))):
        at = (rng.uniform(-0.3, 0.9), rng.uniform(-0.8, 0.8))
        vessel = frame.blob(rng, at, rng.uniform(0.05, 0.08), stretch=2.5)
        echo = echo * (1 - 0.85 * frame.soft(vessel))
    shown: Array = np.clip(echo, 0.01, 2)
    return shown


def _ripples(frame: Frame, rng: Generator) -> Array:
    """Weaken some beams, most where the probe loses the skin."""
    beams = 0.12 * texture(rng, frame.size, 6)[:1] - 0.5 * (rng.uniform() < 0.25) * np.exp(
        -(((frame.x[:1] - rng.uniform(-0.9, 0.9)) / 0.12) ** 2)
    )
    passed: Array = np.exp(beams)
    return passed


def _normal(s: Scan) -> tuple[Array, Array, Array]:
    return s.echo, np.ones_like(s.echo), np.zeros_like(s.echo)


def _cyst(s: Scan) -> tuple[Array, Array, Array]:
    """Draw a region without echo, and stronger echoes behind it."""
    shape = s.frame.soft(s.lesion(rough=0.05))
    strong = np.exp(s.rng.uniform(1.6, 2.6) * np.minimum(s.behind(shape), 0.5))
    return s.echo * (1 - shape) + 0.015 * shape, strong, shape


def _solid(s: Scan) -> tuple[Array, Array, Array]:
    """Draw a smooth oval, darker than the tissue."""
    shape = s.frame.soft(s.lesion(rough=0.08, stretch=1.9))
    inside = s.rng.uniform(0.07, 0.13) * np.exp(0.15 * texture(s.rng, s.frame.size, 10))
    return s.echo * (1 - shape) + inside * shape, np.ones_like(shape), shape


def _spiculated(s: Scan) -> tuple[Array, Array, Array]:
    """Draw a dark mass with points into the tissue, a bright halo, and a faint shadow."""
    depth = s.lesion(rough=0.15, stretch=1.2, spikes=int(s.rng.integers(5, 9)))
    shape, halo = s.frame.soft(depth), s.frame.soft(depth + 0.06, 2)
    echo = s.echo * (1 + 0.9 * (halo - shape)) * (1 - shape) + 0.06 * shape
    return echo, np.exp(-s.rng.uniform(1.5, 2.8) * s.behind(shape)), shape


def _stone(s: Scan) -> tuple[Array, Array, Array]:
    """Draw a bright cap, and nothing behind it."""
    y, x = s.centre[0] - 0.1, s.centre[1]
    wide, tilt = 0.4 * s.radius + 0.06, s.rng.uniform(-0.3, 0.3)
    shape = s.frame.soft(s.frame.ellipse(y, x, 0.06, wide, tilt))
    through = np.exp(-s.rng.uniform(25, 45) * s.behind(shape)) + 0.02
    return s.echo * (1 - shape) + 2.2 * shape, np.maximum(through, shape), shape


def _bright_mass(s: Scan) -> tuple[Array, Array, Array]:
    """Draw an even mass, brighter than the tissue."""
    shape = s.frame.soft(s.lesion(rough=0.15))
    return s.echo * (1 - shape) + s.rng.uniform(0.95, 1.4) * shape, np.ones_like(shape), shape


def _septated(s: Scan) -> tuple[Array, Array, Array]:
    """Draw a cyst parted by thin walls."""
    depth = s.lesion(rough=0.1)
    shape, angle = s.frame.soft(depth), s.rng.uniform(0, np.pi)
    across = np.cos(angle) * (s.frame.y - s.centre[0]) + np.sin(angle) * (s.frame.x - s.centre[1])
    other = np.sin(angle) * (s.frame.y - s.centre[0]) - np.cos(angle) * (s.frame.x - s.centre[1])
    across = across + 0.12 * s.radius * texture(s.rng, s.frame.size, 5)
    other = other + s.radius * (0.12 * texture(s.rng, s.frame.size, 5) - 0.2)
    walls = np.exp(-((across / 0.035) ** 2))
    walls = np.maximum(walls, np.exp(-((other / 0.035) ** 2)) * (across > 0))
    strong = np.exp(1.2 * np.minimum(s.behind(shape), 0.5))
    return s.echo * (1 - shape) + (0.015 + 0.7 * walls) * shape, strong, shape


def _target(s: Scan) -> tuple[Array, Array, Array]:
    """Draw a bright core in a dark rim."""
    depth = s.lesion(rough=0.08)
    shape, core = s.frame.soft(depth), s.frame.soft(depth - s.rng.uniform(0.35, 0.45) * s.radius)
    inside = 0.04 + s.rng.uniform(0.6, 1.0) * core
    return s.echo * (1 - shape) + inside * shape, np.ones_like(shape), shape


def _free_fluid(s: Scan) -> tuple[Array, Array, Array]:
    """Draw an echo-free wedge under the organ."""
    slope, level = s.rng.uniform(-0.8, 0.8), s.rng.uniform(-0.1, 0.35)
    top = s.frame.y - level - slope * s.frame.x - 0.03 * texture(s.rng, s.frame.size, 4)
    thick = s.rng.uniform(0.25, 0.45)
    shape = s.frame.soft(np.minimum(top, thick + 0.4 * s.frame.x * np.sign(slope) - top))
    wall = np.exp(-((top / 0.03) ** 2))
    return s.echo * (1 - shape) + 0.015 * shape + 0.3 * wall, 1 + 0.5 * s.behind(shape), shape


def _gas_lines(s: Scan) -> tuple[Array, Array, Array]:
    """Draw gas, which throws the beam back: bright bands that repeat downwards."""
    first, period = s.rng.uniform(-0.5, -0.1), s.rng.uniform(0.25, 0.4)
    below = s.frame.y - first + 0.03 * texture(s.rng, s.frame.size, 3)
    bands = np.exp(-((((below + period / 2) % period - period / 2) / 0.035) ** 2))
    ragged = s.radius * (1.6 + 0.35 * texture(s.rng, s.frame.size, 5))
    near = s.frame.soft(ragged - np.abs(s.frame.x - s.centre[1]), 10)
    shape = s.frame.soft(below + 0.03) * near
    fading = np.exp(-0.9 * np.maximum(below, 0))
    return s.echo * (1 - shape) + (0.05 + 1.3 * bands * fading) * shape, np.ones_like(shape), shape


FINDINGS: Mapping[str, Finding] = {
    "normal-tissue": _normal,
    "simple-cyst": _cyst,
    "solid-mass": _solid,
    "spiculated-mass": _spiculated,
    "stone-with-shadow": _stone,
    "bright-mass": _bright_mass,
    "septated-cyst": _septated,
    "target-lesion": _target,
    "free-fluid": _free_fluid,
    "gas-lines": _gas_lines,
}
CLASSES = tuple(FINDINGS)
