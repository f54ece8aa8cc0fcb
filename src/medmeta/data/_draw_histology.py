"""Haematoxylin and eosin sections: tissue without a finding, and ten patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from medmeta.data._anatomy import Array, Frame, Picture, Subject, label_map, scattered, texture
from medmeta.data._modality import bright_field

STRUCTURES = ("nuclei", "finding")


@dataclass(frozen=True)
class Section:
    """The field of view; ``cell`` is a nucleus's usual radius, ``pink`` the ground's eosin."""

    frame: Frame
    rng: Generator
    cell: float
    pink: Array

    def nuclei(self, y: Array, x: Array, *, size: float = 1.0, vary: float = 0.15) -> Array:
        """Coverage of ellipses at these places."""
        radius = self.cell * size * np.exp(self.rng.normal(0, vary, y.size))
        flat = self.rng.uniform(0.65, 1, y.size)
        return self.frame.dots(y, x, radius, radius * flat, self.rng.uniform(0, np.pi, y.size))

    def ground(self, spacing: float) -> Array:
        """Nuclei scattered over the whole field."""
        return self.nuclei(*scattered(self.rng, spacing * self.cell))

    def patch(self, low: float, high: float, rough: float = 0.25) -> Array:
        """Coverage of an irregular region somewhere in the field."""
        at = (self.rng.uniform(-0.5, 0.5), self.rng.uniform(-0.5, 0.5))
        depth = self.frame.blob(self.rng, at, self.rng.uniform(low, high), rough=rough)
        return self.frame.soft(depth, 3)


Pattern = Callable[[Section], tuple[Array, Array, Array, Array]]
"""A section to its haematoxylin, its eosin, the coverage of nuclei, and that of the finding."""


def draw(subject: Subject, name: str) -> Picture:
    """One field of view."""
    rng, body = subject.scene, subject.body
    frame = Frame.posed(rng, subject.size, turn=3.1, zoom=0.15, shift=0.0, warp=0.04)
    grainy = 0.06 * texture(rng, subject.size, 20) + 0.09 * texture(rng, subject.size, 4)
    pink = body.uniform(0.32, 0.55) + grainy
    section = Section(frame, rng, body.uniform(0.055, 0.072), np.clip(pink, 0.05, 1))
    haematoxylin, eosin, nuclei, finding = PATTERNS[name](section)
    # Chromatin is never even, and the cut is thicker in one place than in another.
    haematoxylin = haematoxylin * (1 + 0.18 * texture(rng, subject.size, 24))
    thickness = np.exp(0.12 * texture(rng, subject.size, 2))
    pixels = bright_field(
        subject, np.maximum(haematoxylin, 0) * thickness, np.maximum(eosin, 0) * thickness
    )
    return Picture(pixels, label_map(nuclei, finding * (nuclei < 0.5)))


def _stain(s: Section, nuclei: Array, eosin: Array, dark: float = 0.8) -> tuple[Array, Array]:
    """Haematoxylin and eosin of a ground with nuclei on it."""
    return 0.06 + dark * nuclei, eosin * (1 - 0.6 * nuclei)


def _plain(s: Section) -> tuple[Array, Array, Array, Array]:
    nuclei = s.ground(s.rng.uniform(4.2, 5.5))
    return *_stain(s, nuclei, s.pink), nuclei, np.zeros_like(nuclei)


def _infiltrate(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw crowds of small dark round nuclei."""
    where = np.maximum(s.patch(0.5, 0.8), s.patch(0.4, 0.7))
    y, x = scattered(s.rng, 2.0 * s.cell, 0.4)
    crowd = s.frame.dots(y, x, 0.68 * s.cell) * where
    nuclei = np.maximum(crowd, s.ground(5.0) * (1 - where))
    haematoxylin, eosin = _stain(s, nuclei, s.pink)
    return haematoxylin + 0.35 * crowd, eosin * (1 - 0.4 * where), nuclei, where


def _pleomorphic(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw large nuclei of all sizes, some with a pale centre."""
    y, x = scattered(s.rng, s.rng.uniform(3.4, 4.2) * s.cell, 0.5)
    big = s.nuclei(y, x, size=1.5, vary=0.4)
    haematoxylin, eosin = _stain(s, big, s.pink, dark=0.7)
    spots = s.frame.dots(y, x, 0.3 * s.cell)
    return haematoxylin + 0.6 * spots * big, eosin, big, 1 - big


def _mitoses(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw dividing cells: very dark plates in a pale halo, among usual nuclei."""
    nuclei = s.ground(4.4)
    n = int(s.rng.integers(4, 8))
    y, x = s.rng.uniform(-0.85, 0.85, (2, n))
    turn = s.rng.uniform(0, np.pi, n)
    halo = s.frame.dots(y, x, 2.1 * s.cell)
    apart = s.cell * s.rng.choice([0.0, 0.75], n)
    dy, dx = apart * np.cos(turn), apart * np.sin(turn)
    y, x, turn = np.append(y + dy, y - dy), np.append(x + dx, x - dx), np.append(turn, turn)
    plates = s.frame.dots(y, x, 0.4 * s.cell, 1.5 * s.cell, turn)
    nuclei = nuclei * (1 - halo)
    haematoxylin, eosin = _stain(s, nuclei, s.pink * (1 - 0.7 * halo), dark=0.65)
    return haematoxylin + 1.6 * plates, eosin, nuclei, plates


def _glands(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw rings of nuclei about white lumens."""
    cy, cx = scattered(s.rng, s.rng.uniform(0.75, 1.0), 0.15)
    lumen, wall, ring = np.zeros_like(s.pink), np.zeros_like(s.pink), []
    for y, x in zip(cy, cx, strict=True):
        radius = s.rng.uniform(0.14, 0.26)
        depth = s.frame.blob(s.rng, (y, x), radius, rough=0.12)
        lumen = np.maximum(lumen, s.frame.soft(depth))
        wall = np.maximum(wall, s.frame.soft(depth + 2.6 * s.cell))
        turn = np.arange(0, 6.28, 2.2 * s.cell / (radius + 1.5 * s.cell))
        away = radius * 1.05 + 1.7 * s.cell
        ring.append(np.stack([y + away * np.sin(turn), x + away * np.cos(turn)]))
    y, x = np.concatenate(ring, axis=1)
    nuclei = np.maximum(s.nuclei(y, x, size=0.95), s.ground(5.5) * (1 - wall)) * (1 - lumen)
    haematoxylin, eosin = _stain(s, nuclei, s.pink + 0.15 * wall)
    return haematoxylin * (1 - lumen), eosin * (1 - lumen), nuclei, lumen


def _fibrosis(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw wavy bundles of pink fibres with thin nuclei along them."""
    bend = s.rng.uniform(0.05, 0.15) * np.sin(s.rng.uniform(3, 6) * s.frame.x + s.rng.uniform(0, 6))
    along = s.frame.y + bend + 0.03 * texture(s.rng, s.frame.size, 6)
    fibres = np.cos(along * s.rng.uniform(38, 55) + 1.6 * texture(s.rng, s.frame.size, 7))
    fibres = fibres * np.clip(0.6 + 0.5 * texture(s.rng, s.frame.size, 6), 0, 1.5)
    y, x = scattered(s.rng, 5.2 * s.cell)
    thin = s.frame.dots(y, x, 0.38 * s.cell, 1.9 * s.cell, s.rng.normal(0, 0.25, y.size))
    eosin = s.pink * 1.15 + 0.2 * fibres
    return *_stain(s, thin, eosin), thin, fibres


def _necrosis(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw pink ground without nuclei, with dark dust in it, beside living tissue."""
    dead = s.patch(0.75, 1.0, rough=0.2)
    y, x = scattered(s.rng, 2.6 * s.cell, 0.5)
    dust = s.frame.dots(y, x, s.rng.uniform(0.15, 0.4, y.size) * s.cell) * dead
    nuclei = s.ground(4.0) * (1 - dead)
    haematoxylin, eosin = _stain(s, nuclei, s.pink)
    smudge = 0.12 * texture(s.rng, s.frame.size, 9)
    return haematoxylin + 0.5 * dust, eosin + dead * (0.22 + smudge), nuclei, dead


def _fat(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw large empty cells between thin walls."""
    y, x = scattered(s.rng, s.rng.uniform(0.38, 0.55), 0.22)
    walls = _between(s, y, x, 0.035)
    dy, dx = s.rng.uniform(-0.25, 0.25, (2, y.size))
    nuclei = s.nuclei(y + dy, x + dx, size=0.8)
    nuclei = nuclei * walls
    haematoxylin, eosin = _stain(s, nuclei, s.pink * walls)
    return haematoxylin * walls, eosin, nuclei, 1 - walls


def _between(s: Section, y: Array, x: Array, width: float) -> Array:
    """Coverage of the walls between cells about these points."""
    away = np.hypot(s.frame.y - y[:, None, None], s.frame.x - x[:, None, None])
    near = np.partition(away, 1, axis=0)
    return s.frame.soft(width - (near[1] - near[0]) / 2, 1.5)


def _mucin(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw pale blue pools with a few floating cells."""
    pool = np.maximum(s.patch(0.45, 0.7), s.patch(0.4, 0.6))
    wisps = 0.16 + 0.06 * texture(s.rng, s.frame.size, 8)
    ground = s.ground(3.8) * (1 - pool)
    afloat = s.nuclei(*scattered(s.rng, 9 * s.cell)) * pool
    nuclei = np.maximum(ground, afloat)
    haematoxylin, eosin = _stain(s, nuclei, s.pink * (1 - 0.92 * pool))
    return haematoxylin + wisps * pool, eosin, nuclei, pool


def _keratin_pearl(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw onion rings of strong pink among plump cells."""
    at, radius = (s.rng.uniform(-0.5, 0.5), s.rng.uniform(-0.5, 0.5)), s.rng.uniform(0.45, 0.65)
    depth = s.frame.blob(s.rng, at, radius, rough=0.12)
    pearl = s.frame.soft(depth, 2)
    rings = np.cos(depth * s.rng.uniform(38, 52) + 0.8 * texture(s.rng, s.frame.size, 6))
    nuclei = s.ground(3.4) * (1 - pearl)
    haematoxylin, eosin = _stain(s, nuclei, s.pink)
    return haematoxylin, eosin + pearl * (0.2 + 0.22 * rings), nuclei, pearl


def _haemorrhage(s: Section) -> tuple[Array, Array, Array, Array]:
    """Draw packed red cells without nuclei."""
    where = s.patch(0.6, 0.9)
    y, x = scattered(s.rng, 1.9 * s.cell, 0.3)
    cells = s.frame.dots(y, x, 0.85 * s.cell) * where
    nuclei = s.ground(4.4) * (1 - where)
    haematoxylin, eosin = _stain(s, nuclei, s.pink * (1 - 0.85 * where))
    return haematoxylin * (1 - 0.5 * where), eosin + 0.85 * cells, nuclei, cells


PATTERNS: Mapping[str, Pattern] = {
    "normal-stroma": _plain,
    "lymphocyte-infiltrate": _infiltrate,
    "pleomorphic-nuclei": _pleomorphic,
    "mitoses": _mitoses,
    "glands": _glands,
    "fibrosis": _fibrosis,
    "necrosis": _necrosis,
    "fat": _fat,
    "mucin": _mucin,
    "keratin-pearl": _keratin_pearl,
    "haemorrhage": _haemorrhage,
}
CLASSES = tuple(PATTERNS)
