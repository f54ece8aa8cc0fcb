"""Chest radiographs: the anatomy in projection and ten findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from medmeta.data._anatomy import Array, Frame, Picture, Subject, label_map, texture, walk
from medmeta.data._modality import x_ray

STRUCTURES = ("lungs", "finding", "heart")


@dataclass(frozen=True)
class Chest:
    """Coverages of what a finding refers to; ``sides`` are the whole left and right chest."""

    frame: Frame
    rng: Generator
    lungs: Array
    sides: tuple[Array, Array]
    centres: tuple[tuple[float, float], tuple[float, float]]

    def side(self) -> int:
        """0 for the picture's left, 1 for its right."""
        return int(self.rng.integers(2))


Finding = Callable[[Chest], tuple[Array, Array]]
"""A chest to what is added to the attenuation, and the coverage of the finding."""


def draw(subject: Subject, name: str) -> Picture:
    """One radiograph."""
    rng, body = subject.scene, subject.body
    frame = Frame.posed(rng, subject.size, turn=0.06, zoom=0.06, shift=0.05, warp=0.015)
    y, x = frame.y, frame.x
    wide, tall, top = body.uniform(0.36, 0.44), body.uniform(0.66, 0.78), body.uniform(-0.1, 0.05)
    dome = body.uniform(0.4, 0.58) + rng.uniform(-0.08, 0.08)  # breath differs by picture
    gap = 0.07 + wide
    diaphragm = dome + 0.55 * (np.abs(x) - gap) ** 2 / wide - 0.05 * (x < 0)
    above = frame.soft(diaphragm - y, 2)
    sides = tuple(frame.soft(frame.ellipse(top, s * gap, tall, wide), 2) for s in (-1, 1))
    # A heart wider than half of the chest is too large.
    big = 1.38 if name == "cardiomegaly" else 1.0
    heart_wide = body.uniform(0.39, 0.46) * (gap + wide) * big * rng.uniform(0.98, 1.02)
    heart = frame.soft(
        frame.ellipse(dome - 0.2 * big, 0.06 + 0.06 * big, 0.27 * np.sqrt(big), heart_wide, 0.25), 2
    ) * frame.soft(dome + 0.1 - y, 2)
    lungs = np.maximum(*sides) * above
    clear = lungs * (1 - heart)
    thickness = body.uniform(0.92, 1.1)
    field = _soft_tissue(frame, rng, body, thickness) - 0.55 * thickness * lungs
    break_at = rng.choice([-1, 1]) * rng.uniform(0.35, 0.6) if name == "clavicle-fracture" else 0.0
    field += 0.3 * heart + 0.35 * frame.soft(y - diaphragm, 2) + _bones(frame, body, rng, break_at)
    field += 0.13 * _vessels(frame, rng, gap, dome) * lungs
    chest = Chest(frame, rng, clear, (sides[0], sides[1]), ((top, -gap), (top, gap)))
    added, finding = FINDINGS[name](chest) if name in FINDINGS else (0.0, np.zeros_like(field))
    field = np.maximum(field + added + _wire(frame, rng), 0)
    outline = frame.soft(frame.ellipse(0.45, 0, 1.5, 1.08), 3)
    if break_at:
        finding = frame.dots(-0.56, break_at, 0.14)
    return Picture(x_ray(subject, field * outline), label_map(lungs, finding, heart))


def _soft_tissue(frame: Frame, rng: Generator, body: Generator, thickness: float) -> Array:
    field = 0.75 * thickness + 0.05 * texture(rng, frame.size, 4)
    spine = 0.35 * np.exp(-((frame.x / body.uniform(0.09, 0.13)) ** 2))
    bones = 1 + 0.15 * np.cos(2 * np.pi * frame.y / 0.17)
    shown: Array = field + spine * bones
    return shown


def _bones(frame: Frame, body: Generator, rng: Generator, break_at: float) -> Array:
    """Ribs as a bent periodic band, and both clavicles, one broken at ``x`` unless that is 0."""
    bend, spacing = body.uniform(0.25, 0.6), body.uniform(0.2, 0.26)
    shown = body.uniform(0.06, 0.16)
    phase = (frame.y - bend * (np.abs(frame.x) - 0.3) ** 2 * 2 + body.uniform(0, 1)) / spacing
    ribs = np.clip(np.cos(2 * np.pi * phase), 0, 1) ** 1.5
    thorax = frame.soft(frame.ellipse(0.1, 0, 0.95, 0.92), 2) * (np.abs(frame.x) > 0.12)
    slope = body.uniform(0.0, 0.14)
    bars = []
    for side in (-1, 1):
        ends = np.array([[-0.5, side * 0.12], [-0.57, side * 0.45], [-0.57 - slope, side * 0.82]])
        if side == np.sign(break_at):
            step = np.array([rng.uniform(0.14, 0.2) * rng.choice([-1, 1]), -side * 0.05])
            at = np.array([-0.56, break_at])
            bars += [np.stack([ends[0], at]), np.stack([at + step, ends[2] + 0.8 * step])]
        else:
            bars.append(ends)
    total: Array = shown * ribs * thorax + 0.38 * frame.paths(bars, 0.04)
    return total


def _vessels(frame: Frame, rng: Generator, gap: float, dome: float) -> Array:
    """Branches that fan out from both hila."""
    lines = [
        walk(rng, (dome - 0.5, side * 0.14), heading, rng.uniform(0.3, 0.6), 0.15)
        for side in (-1, 1)
        for heading in (np.pi / 2 - side * np.linspace(0.1, 2.6, 5) + rng.normal(0, 0.2, 5))
    ]
    return frame.paths(lines, 0.014)


def _wire(frame: Frame, rng: Generator) -> Array:
    """In some pictures an electrode with its wire lies on the chest, whatever the finding."""
    if rng.uniform() > 0.25:
        return np.zeros_like(frame.y)
    at = (rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6))
    wire = frame.paths([walk(rng, at, rng.uniform(0, 6.3), 1.0, 0.12)], 0.01)
    shown: Array = 0.25 * wire + 0.4 * frame.dots(*at, 0.035)
    return shown


def _nodule(c: Chest) -> tuple[Array, Array]:
    at, radius = c.frame.place(c.rng, c.lungs), c.rng.uniform(0.12, 0.19)
    shape = c.frame.soft(c.frame.blob(c.rng, at, radius, rough=0.06, stretch=1.2), 1.5)
    return c.rng.uniform(0.4, 0.6) * shape, shape


def _cavity(c: Chest) -> tuple[Array, Array]:
    """Draw a ring with air in it, most often in an upper lobe."""
    upper = c.lungs * (c.frame.y < c.rng.choice([-0.1, 1.0], p=[0.8, 0.2]))
    at, radius = c.frame.place(c.rng, upper), c.rng.uniform(0.2, 0.3)
    depth = c.frame.blob(c.rng, at, radius, rough=0.06)
    shape = c.frame.soft(depth, 1.5)
    hollow = c.frame.soft(depth - c.rng.uniform(0.3, 0.45) * radius, 1.5)
    return c.rng.uniform(0.45, 0.65) * (shape - 1.2 * hollow), shape


def _miliary(c: Chest) -> tuple[Array, Array]:
    n = int(c.rng.integers(180, 260))
    y, x = c.rng.uniform(-0.9, 0.8, n), c.rng.uniform(-0.9, 0.9, n)
    shape = c.frame.dots(y, x, c.rng.uniform(0.025, 0.04, n)) * c.lungs
    return c.rng.uniform(0.25, 0.4) * shape, shape


def _consolidation(c: Chest) -> tuple[Array, Array]:
    """Draw a fluffy patch, most often in a lower lobe."""
    lower = c.lungs * (c.frame.y > c.rng.choice([-0.1, -1.0], p=[0.8, 0.2]))
    at, radius = c.frame.place(c.rng, lower), c.rng.uniform(0.3, 0.42)
    shape = c.frame.soft(c.frame.blob(c.rng, at, radius, rough=0.35), 6) * c.lungs
    fluffy = 0.75 + 0.3 * texture(c.rng, c.frame.size, 7)
    return c.rng.uniform(0.4, 0.55) * shape * np.clip(fluffy, 0.1, 1.5), shape


def _effusion(c: Chest) -> tuple[Array, Array]:
    side = c.side()
    lateral = np.abs(c.frame.x) - 0.1
    level = c.rng.uniform(0.1, 0.4) - 0.6 * lateral**2
    shape = c.frame.soft(c.frame.y - level, 3) * c.sides[side]
    below = 1 - 0.5 * c.frame.soft(c.frame.y - 0.6, 8)
    return c.rng.uniform(0.4, 0.55) * shape * below, shape


def _pneumothorax(c: Chest) -> tuple[Array, Array]:
    side = c.side()
    cy, cx = c.centres[side]
    away, share = c.rng.uniform(0.12, 0.2), c.rng.uniform(0.6, 0.78)
    edge = c.frame.ellipse(cy + 0.08, cx - np.sign(cx) * away, 0.75 * share, 0.42 * share)
    air = c.sides[side] * c.lungs * (1 - c.frame.soft(edge, 1))
    line = np.exp(-((edge / 0.02) ** 2)) * c.lungs * c.sides[side]
    collapsed = c.frame.soft(edge) * c.lungs
    return 0.17 * collapsed * c.sides[side] + 0.16 * line - c.rng.uniform(0.18, 0.26) * air, air


def _interstitial(c: Chest) -> tuple[Array, Array]:
    ridge = np.exp(-((texture(c.rng, c.frame.size, 18) / 0.35) ** 2))
    lower = 0.6 + 0.4 * c.frame.soft(c.frame.y + 0.2, 12)
    shape = ridge * c.lungs
    return c.rng.uniform(0.3, 0.42) * shape * lower, shape


def _pacemaker(c: Chest) -> tuple[Array, Array]:
    side = c.rng.choice([-1, 1], p=[0.3, 0.7])
    cy, cx = c.rng.uniform(-0.55, -0.4), side * c.rng.uniform(0.45, 0.65)
    squared = (np.abs((c.frame.y - cy) / 0.13) ** 3 + np.abs((c.frame.x - cx) / 0.16) ** 3) ** (
        1 / 3
    )
    box = c.frame.soft((1 - squared) * 0.13)
    y = np.array([cy, cy - 0.12, cy - 0.1, -0.2, 0.1, c.rng.uniform(0.25, 0.4)])
    x = np.array([cx, cx - side * 0.12, side * 0.15, 0.0, 0.02, c.rng.uniform(0.15, 0.35)])
    shape = np.maximum(box, c.frame.paths([np.stack([y, x], axis=1)], 0.018))
    return c.rng.uniform(0.6, 0.9) * shape, shape


FINDINGS: Mapping[str, Finding] = {
    "nodule": _nodule,
    "cavity": _cavity,
    "miliary-nodules": _miliary,
    "consolidation": _consolidation,
    "pleural-effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "interstitial-lines": _interstitial,
    "pacemaker": _pacemaker,
}
CLASSES = ("normal-chest", "cardiomegaly", "clavicle-fracture", *FINDINGS)
