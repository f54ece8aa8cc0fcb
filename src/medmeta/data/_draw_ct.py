"""Slices of the upper abdomen in Hounsfield units, and ten findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from medmeta.data._anatomy import Array, Frame, Picture, Subject, label_map, lay, texture
from medmeta.data._modality import ct

STRUCTURES = ("liver", "spleen", "aorta", "finding")


@dataclass(frozen=True)
class Abdomen:
    """Coverages of the organs and the cavity, and the slice's Hounsfield units so far."""

    frame: Frame
    rng: Generator
    field: Array
    liver: Array
    spleen: Array
    cavity: Array


Finding = Callable[[Abdomen], tuple[Array, Array]]
"""An abdomen to its Hounsfield units with the finding, and the finding's coverage."""


def draw(subject: Subject, name: str) -> Picture:
    """One slice."""
    rng, body = subject.scene, subject.body
    frame = Frame.posed(rng, subject.size, turn=0.12, zoom=0.08, shift=0.06, warp=0.025)
    thick, fat = body.uniform(0.68, 0.8), body.uniform(0.03, 0.12)
    skin = frame.ellipse(0, 0, thick, 0.88)
    inner = frame.ellipse(0, 0, thick - fat, 0.88 - fat)
    cavity = frame.soft(inner - 0.08)
    # Fluid parts the organs from the wall.
    fluid = name == "ascites"
    inside = frame.soft(inner - (0.17 if fluid else 0.09))
    liver = frame.soft(_liver(frame, rng, body)) * inside
    size = (1.75 if name == "splenomegaly" else 1.0) * body.uniform(0.9, 1.12)
    spleen = frame.ellipse(0.14, 0.58 - 0.1 * (size - 1), 0.24 * size, 0.13 * size, -0.4)
    spleen = frame.soft(spleen) * inside * (1 - liver)
    wide = rng.uniform(0.2, 0.28) if name == "aortic-aneurysm" else body.uniform(0.07, 0.09)
    aorta = frame.soft(frame.ellipse(0.27 - 0.6 * wide, 0.06, wide, wide * rng.uniform(0.85, 1.15)))
    base = 15 + 12 * texture(rng, subject.size, 9)
    field = _backdrop(frame, rng, (thick - fat, 0.88 - fat), skin, inner)
    field = lay(field, cavity, 5 if fluid else -90)
    field = _bowel(frame, rng, field, cavity)
    contrast = body.uniform(0, 60)
    pale = rng.uniform(-5, 20) if name == "steatosis" else 60 + 0.7 * contrast
    vessels = _vessels(frame, rng, liver, 45 + 1.2 * contrast - pale)
    field = lay(field, liver, pale + 0.4 * base + vessels)
    field = lay(field, spleen, 52 + contrast)
    field = lay(field, aorta, 45 + 2.2 * contrast)
    abdomen = Abdomen(frame, rng, field, liver, spleen, cavity)
    finding = np.zeros_like(field)
    if name in FINDINGS:
        field, finding = FINDINGS[name](abdomen)
    return Picture(ct(subject, field), label_map(liver, spleen, aorta, finding))


def _liver(frame: Frame, rng: Generator, body: Generator) -> Array:
    right = frame.ellipse(-0.04, -0.42, body.uniform(0.38, 0.46), body.uniform(0.34, 0.42), 0.1)
    left = frame.ellipse(-0.26, -0.05, body.uniform(0.16, 0.24), body.uniform(0.36, 0.5), -0.15)
    depth: Array = np.maximum(right, left) + 0.015 * texture(rng, frame.size, 6)
    return depth


def _vessels(frame: Frame, rng: Generator, liver: Array, brighter: float) -> Array:
    """Portal branches that fan out from the porta."""
    start = np.array([0.02, -0.12])
    lines = [
        np.stack([start, start + rng.uniform(0.2, 0.45) * np.array([np.sin(a), np.cos(a)])])
        for a in np.pi + rng.uniform(-1.0, 1.0, 3)
    ]
    return 0.6 * min(max(brighter, 10.0), 90.0) * frame.paths(lines, 0.025) * liver


def _backdrop(
    frame: Frame, rng: Generator, radii: tuple[float, float], skin: Array, inner: Array
) -> Array:
    """Air, fat, muscle, ribs, spine."""
    field = lay(np.full_like(skin, -1000.0), frame.soft(skin), -100)
    field = lay(field, frame.soft(inner), 55)
    angle = np.linspace(0, 2 * np.pi, 15)[:-1] + rng.uniform(0, 0.5)
    tall, wide = radii[0] - 0.045, radii[1] - 0.045
    ribs = frame.dots(tall * np.sin(angle), wide * np.cos(angle), 0.028, 0.06, np.pi / 2 - angle)
    field = lay(field, ribs, rng.uniform(300, 500))
    body, process = frame.ellipse(0.42, 0, 0.13, 0.16), frame.ellipse(0.58, 0, 0.16, 0.05)
    spine = frame.soft(np.maximum(body, process))
    return lay(field, spine * frame.soft(inner - 0.02), rng.uniform(250, 420))


def _bowel(frame: Frame, rng: Generator, field: Array, cavity: Array) -> Array:
    """Stomach with an air level, a kidney, loops of bowel."""
    at = (rng.uniform(-0.32, -0.2), rng.uniform(0.28, 0.42))
    stomach = frame.soft(frame.blob(rng, at, rng.uniform(0.15, 0.24), rough=0.2)) * cavity
    air = frame.soft(at[0] + rng.uniform(-0.12, 0.1) - frame.y)
    field = lay(field, stomach, rng.uniform(10, 60))
    field = lay(field, stomach * air, -600)
    kidney = frame.soft(frame.ellipse(0.3, rng.uniform(0.3, 0.38), 0.15, 0.1, 0.3)) * cavity
    field = lay(field, kidney, rng.uniform(40, 130))
    for _ in range(3):
        loop = frame.blob(rng, (rng.uniform(-0.05, 0.2), rng.uniform(0.05, 0.4)), 0.09)
        field = lay(field, frame.soft(loop) * cavity, rng.uniform(20, 70))
    return field


def _spot(a: Abdomen, low: float, high: float, rough: float) -> Array:
    """Depth of a lesion in the liver."""
    at, radius = a.frame.place(a.rng, a.liver), a.rng.uniform(low, high)
    return a.frame.blob(a.rng, at, radius, rough=rough)


def _cyst(a: Abdomen) -> tuple[Array, Array]:
    shape = a.frame.soft(_spot(a, 0.15, 0.26, 0.05)) * a.liver
    return lay(a.field, shape, a.rng.uniform(-8, 12)), shape


def _bleed(a: Abdomen) -> tuple[Array, Array]:
    shape = a.frame.soft(_spot(a, 0.17, 0.28, 0.45), 2) * a.liver
    clot = a.rng.uniform(60, 100) * np.clip(1 + 0.3 * texture(a.rng, a.frame.size, 10), 0.3, 2)
    return a.field + clot * shape, shape


def _metastases(a: Abdomen) -> tuple[Array, Array]:
    y, x = a.frame.places(a.rng, a.liver, int(a.rng.integers(5, 10)))
    shape = a.frame.dots(y, x, a.rng.uniform(0.05, 0.1, y.size)) * a.liver
    return a.field - a.rng.uniform(35, 60) * shape, shape


def _calcified_ring(a: Abdomen) -> tuple[Array, Array]:
    depth = _spot(a, 0.15, 0.25, 0.08)
    shape = a.frame.soft(depth) * a.liver
    ring = (shape - a.frame.soft(depth - 0.05)) * (a.liver > 0.3)
    inside = lay(a.field, shape, a.rng.uniform(15, 60))
    return lay(inside, np.clip(ring, 0, 1), a.rng.uniform(250, 500)), shape


def _abscess(a: Abdomen) -> tuple[Array, Array]:
    """Draw a dark centre of several chambers in a thick wall that takes up contrast."""
    at, radius = a.frame.place(a.rng, a.liver), a.rng.uniform(0.1, 0.14)
    turns = a.rng.uniform(0, 6.3) + np.array([0.0, 2.1, 4.2])
    y, x = at[0] + 0.75 * radius * np.sin(turns), at[1] + 0.75 * radius * np.cos(turns)
    outer = a.frame.dots(y, x, radius * 1.35) * a.liver
    pus = a.frame.dots(y, x, radius * 0.72) * a.liver
    return lay(a.field + a.rng.uniform(35, 60) * outer, pus, a.rng.uniform(0, 20)), outer


def _ascites(a: Abdomen) -> tuple[Array, Array]:
    """Fill the cavity about the organs with fluid."""
    level = a.frame.soft(a.frame.y + a.rng.uniform(-0.15, 0.3), 2)
    shape = a.cavity * np.clip(1 - a.liver - a.spleen, 0, 1) * (a.field > -60) * (a.field < 35)
    shape = shape * level
    return lay(a.field, shape, a.rng.uniform(0, 15)), shape


def _haemangioma(a: Abdomen) -> tuple[Array, Array]:
    """Draw a dark lesion with bright puddles at its edge."""
    at, radius = a.frame.place(a.rng, a.liver), a.rng.uniform(0.16, 0.25)
    shape = a.frame.soft(a.frame.blob(a.rng, at, radius, rough=0.15)) * a.liver
    angles = a.rng.uniform(0, 6.3) + np.arange(5) * 1.26 + a.rng.normal(0, 0.2, 5)
    y, x = at[0] + 0.75 * radius * np.sin(angles), at[1] + 0.75 * radius * np.cos(angles)
    puddles = a.frame.dots(y, x, a.rng.uniform(0.04, 0.07, 5)) * shape
    field = a.field - a.rng.uniform(35, 50) * shape
    return field + a.rng.uniform(80, 110) * puddles, shape


FINDINGS: Mapping[str, Finding] = {
    "cyst": _cyst,
    "bleed": _bleed,
    "metastases": _metastases,
    "calcified-ring": _calcified_ring,
    "abscess": _abscess,
    "haemangioma": _haemangioma,
    "ascites": _ascites,
}
CLASSES = ("normal-liver", "steatosis", "splenomegaly", "aortic-aneurysm", *FINDINGS)
