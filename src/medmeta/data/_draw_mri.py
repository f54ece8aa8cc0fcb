"""Axial slices of the brain, fluid dark, and eleven findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from medmeta.data._anatomy import Array, Frame, Picture, Subject, label_map, lay, texture
from medmeta.data._modality import mri

STRUCTURES = ("brain", "ventricles", "finding")


@dataclass(frozen=True)
class Head:
    """Depth of the brain's surface, coverages, and the slice's signal so far."""

    frame: Frame
    rng: Generator
    signal: Array
    surface: Array
    brain: Array
    tissue: Array

    def side(self) -> int:
        """-1 for the picture's left, 1 for its right."""
        return int(self.rng.choice([-1, 1]))


Finding = Callable[[Head], tuple[Array, Array]]
"""A head to its signal with the finding, and the finding's coverage."""


def draw(subject: Subject, name: str) -> Picture:
    """One slice."""
    rng, body = subject.scene, subject.body
    frame = Frame.posed(rng, subject.size, turn=0.1, zoom=0.06, shift=0.04, warp=0.02)
    tall, wide = body.uniform(0.72, 0.82), body.uniform(0.58, 0.68)
    surface = frame.ellipse(0, 0, tall, wide)
    brain = frame.soft(surface)
    shifted = np.zeros_like(brain)
    inner = frame
    if name == "midline-shift":
        inner, shifted = _push(frame, rng, surface)
    wide_sulci = 0.05 if name == "atrophy" else 0.0
    swollen = rng.uniform(1.7, 2.3) if name == "hydrocephalus" else 1.25 if wide_sulci else 1.0
    ventricles = _ventricles(inner, rng, swollen * body.uniform(0.85, 1.15)) * brain
    signal = _tissue(frame, inner, rng, body, surface, wide_sulci)
    dark = rng.uniform(0.12, 0.22)
    signal = signal * (1 - ventricles) + dark * ventricles
    falx = np.exp(-((inner.x / 0.025) ** 2)) * brain * (np.abs(inner.y) > 0.38)
    signal = signal * (1 - 0.45 * falx)
    signal = signal * brain + _skull(surface, rng) * (1 - brain)
    head = Head(frame, rng, signal, surface, brain, brain * (1 - ventricles))
    finding = shifted
    if name in FINDINGS:
        signal, finding = FINDINGS[name](head)
    return Picture(mri(subject, np.maximum(signal, 0)), label_map(brain, ventricles, finding))


def _push(frame: Frame, rng: Generator, surface: Array) -> tuple[Frame, Array]:
    """Bend the midline to one side; the finding is what lies between it and where it was."""
    push = rng.uniform(0.16, 0.24) * rng.choice([-1, 1])
    across = np.exp(-(((frame.y - rng.uniform(-0.1, 0.1)) / 0.5) ** 2)) * np.clip(surface * 3, 0, 1)
    bent = frame.bent(frame.y, frame.x - push * across)
    between = np.minimum(frame.soft(frame.x * np.sign(push)), frame.soft(-bent.x * np.sign(push)))
    return bent, between


def _ventricles(frame: Frame, rng: Generator, swollen: float) -> Array:
    """Draw a butterfly: two front and two back horns that lean apart."""
    thick, horns = 0.055 * swollen, []
    for side in (-1, 1):
        lean = side * rng.uniform(0.3, 0.45)
        out = 0.1 + 0.3 * (thick - 0.055)
        horns.append(frame.ellipse(-0.13, side * out, 0.2 * swollen**0.4, thick, -lean))
        horns.append(frame.ellipse(0.2, side * (out + 0.03), 0.2 * swollen**0.4, 0.9 * thick, lean))
    return frame.soft(np.max(horns, axis=0))


def _tissue(
    frame: Frame, inner: Frame, rng: Generator, body: Generator, surface: Array, wide: float
) -> Array:
    """White matter, deep grey nuclei, and a cortex folded into sulci."""
    white, grey = body.uniform(0.42, 0.5), body.uniform(0.6, 0.7)
    folds = texture(rng, frame.size, 13)
    cortex = frame.soft(0.13 + wide + 0.035 * texture(rng, frame.size, 12) - surface, 2)
    signal = white + (grey - white) * cortex + 0.015 * texture(rng, frame.size, 8)
    for side in (-1, 1):
        nucleus = frame.soft(inner.ellipse(0.03, side * 0.23, 0.16, 0.07, side * 0.3), 2)
        signal = signal + 0.8 * (grey - white) * nucleus
    sulci = np.exp(-((folds / (0.22 + 4 * wide)) ** 2)) * frame.soft(0.12 + 1.6 * wide - surface, 2)
    shown: Array = signal * (1 - (0.55 + 4 * wide) * sulci)
    return shown


def _skull(surface: Array, rng: Generator) -> Array:
    """Dark bone, bright scalp, air."""
    scalp = np.exp(-(((surface + rng.uniform(0.11, 0.14)) / 0.035) ** 2))
    shown: Array = rng.uniform(0.5, 0.9) * scalp
    return shown


def _lesion(h: Head, low: float, high: float, rough: float) -> Array:
    """Depth of a lesion well inside the brain."""
    at = h.frame.place(h.rng, h.tissue * (h.surface > 0.1) * (np.abs(h.frame.x) > 0.12))
    radius = h.rng.uniform(low, high)
    return h.frame.blob(h.rng, at, radius, rough=rough)


def _ring(h: Head) -> tuple[Array, Array]:
    """Draw a bright ring, dark inside, in faint oedema."""
    depth = _lesion(h, 0.2, 0.3, 0.12)
    shape, core = h.frame.soft(depth) * h.brain, h.frame.soft(depth - 0.08) * h.brain
    signal = h.signal + 0.12 * h.frame.soft(depth + 0.1, 6) * h.tissue
    signal = lay(signal, shape, h.rng.uniform(0.9, 1.1))
    return lay(signal, core, h.rng.uniform(0.15, 0.35)), shape


def _infarct(h: Head) -> tuple[Array, Array]:
    """Draw a bright wedge with its base at the surface."""
    side, y0 = h.side(), h.rng.uniform(-0.4, 0.4)
    angle = np.arctan2(h.frame.y - y0 * 0.3, side * h.frame.x)
    aim, half = np.arctan2(y0, 0.55), h.rng.uniform(0.4, 0.6)
    wedge = h.frame.soft((half - np.abs(angle - aim)) * np.hypot(h.frame.y, h.frame.x), 2)
    deep = h.frame.soft(h.rng.uniform(0.32, 0.45) - h.surface, 2)
    shape = wedge * deep * h.tissue
    return h.signal + h.rng.uniform(0.3, 0.45) * shape, shape


def _white_spots(h: Head) -> tuple[Array, Array]:
    n = int(h.rng.integers(14, 26))
    angle, out = h.rng.uniform(0, 6.3, n), h.rng.uniform(0.25, 0.5, n)
    y, x = out * np.sin(angle) * 1.15, out * np.cos(angle) * 0.9
    shape = h.frame.dots(y, x, h.rng.uniform(0.03, 0.065, n), h.rng.uniform(0.03, 0.05, n), angle)
    shape = shape * h.tissue
    return h.signal + h.rng.uniform(0.3, 0.45) * shape, shape


def _microbleeds(h: Head) -> tuple[Array, Array]:
    y, x = h.frame.places(h.rng, h.tissue, int(h.rng.integers(9, 16)))
    shape = h.frame.dots(y, x, h.rng.uniform(0.032, 0.055, y.size)) * h.brain
    return lay(h.signal, shape, 0.05), shape


def _surface_tumour(h: Head) -> tuple[Array, Array]:
    """Draw a bright smooth mass that sits on the surface and presses inwards."""
    at = h.frame.place(h.rng, h.brain * (h.surface < 0.08))
    depth = h.frame.blob(h.rng, at, h.rng.uniform(0.26, 0.38), rough=0.05)
    shape = h.frame.soft(depth) * h.brain
    signal = h.signal * (1 - 0.5 * np.exp(-(((depth + 0.03) / 0.03) ** 2)) * h.brain)
    return lay(signal, shape, h.rng.uniform(0.8, 1.0)), shape


def _subdural(h: Head) -> tuple[Array, Array]:
    """Draw a bright crescent between skull and brain on one side."""
    side = h.side()
    thick = h.rng.uniform(0.15, 0.22)
    inner = h.frame.ellipse(h.rng.uniform(-0.1, 0.1), -side * thick * 1.3, 0.8, 0.66)
    shape = h.frame.soft(-inner) * h.brain * h.frame.soft(side * h.frame.x - 0.1, 2)
    return lay(h.signal, shape, h.rng.uniform(0.75, 1.0)), shape


def _cyst(h: Head) -> tuple[Array, Array]:
    shape = h.frame.soft(_lesion(h, 0.2, 0.32, 0.05)) * h.brain
    return lay(h.signal, shape, h.rng.uniform(0.08, 0.18)), shape


def _oedema(h: Head) -> tuple[Array, Array]:
    """Draw bright fingers that spread in the white matter."""
    at = h.frame.place(h.rng, h.tissue * (h.surface > 0.15))
    depth = h.frame.blob(h.rng, at, h.rng.uniform(0.26, 0.36), rough=0.3)
    fingers = 0.09 * texture(h.rng, h.frame.size, 9)
    shape = h.frame.soft(depth + fingers, 3) * h.frame.soft(h.surface - 0.12, 2) * h.tissue
    return h.signal + h.rng.uniform(0.25, 0.38) * shape, shape


FINDINGS: Mapping[str, Finding] = {
    "ring-enhancing-mass": _ring,
    "infarct-wedge": _infarct,
    "white-matter-spots": _white_spots,
    "microbleeds": _microbleeds,
    "surface-tumour": _surface_tumour,
    "subdural-crescent": _subdural,
    "brain-cyst": _cyst,
    "oedema": _oedema,
}
CLASSES = ("normal-brain", "hydrocephalus", "atrophy", "midline-shift", *FINDINGS)
