"""Dermoscopy: pigmented and vascular lesions of the skin in ten patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from medmeta.data._anatomy import (
    Array,
    Frame,
    Picture,
    Subject,
    label_map,
    scattered,
    texture,
    walk,
)
from medmeta.data._modality import dermoscope

STRUCTURES = ("lesion",)


@dataclass(frozen=True)
class Lesion:
    """Depth and coverage of the lesion about (0, 0), its radius, how much pigment it has."""

    frame: Frame
    rng: Generator
    depth: Array
    shape: Array
    radius: float
    dark: float


Pigment = tuple[Array, Array, Array]
Pattern = Callable[[Lesion], Pigment]
"""A lesion to the melanin, blood and white haze that it adds to the skin."""


def draw(subject: Subject, name: str) -> Picture:
    """One photograph."""
    rng, body = subject.scene, subject.body
    frame = Frame.posed(rng, subject.size, turn=3.1, zoom=0.1, shift=0.12, warp=0.04)
    radius = rng.uniform(0.42, 0.68)
    rough = 0.5 if name == "melanoma-irregular" else 0.12
    spikes = int(rng.integers(13, 20)) if name == "starburst" else 0
    depth = frame.blob(rng, (0.0, 0.0), radius, rough=rough, stretch=1.6, spikes=spikes)
    shape = frame.soft(depth, 1 if spikes else rng.uniform(2, 6))
    lesion = Lesion(frame, rng, depth, shape, radius, rng.uniform(0.5, 0.9))
    tone, flush = body.uniform(0.0, 0.35), body.uniform(0.0, 0.18)
    uneven = 0.04 * texture(rng, subject.size, 5) + 0.03 * texture(rng, subject.size, 18)
    melanin, blood, white = PATTERNS[name](lesion)
    melanin = tone + uneven + melanin + 1.5 * _hairs(frame, rng, body)
    return Picture(
        dermoscope(subject, np.maximum(melanin, 0), np.maximum(flush + blood, 0), white),
        label_map(shape),
    )


def _hairs(frame: Frame, rng: Generator, body: Generator) -> Array:
    """Hairs lie across whatever the lesion is."""
    hairy = int(body.integers(0, 7))
    aim = rng.uniform(0, 6.3)
    lines = [
        walk(rng, (rng.uniform(-1, 1), rng.uniform(-1, 1)), aim + rng.normal(0, 0.5), 1.2, 0.07)
        for _ in range(int(rng.integers(0, hairy + 1)))
    ]
    return frame.paths(lines, 0.013)


def _none(lesion: Lesion) -> Array:
    return np.zeros_like(lesion.shape)


def _even(s: Lesion) -> Pigment:
    mottled = 1 + 0.1 * texture(s.rng, s.frame.size, 6)
    return s.dark * s.shape * mottled, _none(s), _none(s)


def _network(s: Lesion) -> Pigment:
    """Draw brown lines that enclose paler holes."""
    y, x = scattered(s.rng, s.rng.uniform(0.16, 0.22), 0.3)
    holes = s.frame.dots(y, x, s.rng.uniform(0.06, 0.075))
    return s.dark * s.shape * (1.15 - 0.9 * holes), _none(s), _none(s)


def _globules(s: Lesion) -> Pigment:
    """Draw round dark clods on a paler ground."""
    y, x = scattered(s.rng, s.rng.uniform(0.19, 0.25), 0.3)
    clods = s.frame.dots(y, x, s.rng.uniform(0.05, 0.085, y.size)) * s.shape
    return 0.4 * s.dark * s.shape + s.dark * clods, _none(s), _none(s)


def _starburst(s: Lesion) -> Pigment:
    """Draw streaks that point outwards all about the edge."""
    rim = 0.35 * s.frame.soft(0.15 - np.abs(s.depth), 4)
    return s.dark * s.shape * (0.9 + rim), _none(s), _none(s)


def _veil(s: Lesion) -> Pigment:
    """Draw a blue-white haze over dark pigment."""
    at = s.frame.place(s.rng, s.frame.soft(s.depth - 0.15))
    haze = s.frame.soft(s.frame.blob(s.rng, at, s.radius * s.rng.uniform(0.5, 0.7), rough=0.3), 7)
    mottled = 1 + 0.2 * texture(s.rng, s.frame.size, 6)
    return 1.3 * s.dark * s.shape * mottled, _none(s), s.rng.uniform(0.45, 0.65) * haze * s.shape


def _regression(s: Lesion) -> Pigment:
    """Draw white scars where the pigment has gone."""
    scar = s.frame.soft(0.12 * (texture(s.rng, s.frame.size, 7) - 0.1), 3)
    scar = scar * s.frame.soft(s.depth - 0.08, 3)
    pale = s.dark * s.shape * (1 - 0.9 * scar)
    return pale, _none(s), 0.22 * scar


def _melanoma(s: Lesion) -> Pigment:
    """Draw many browns and a red, unevenly, in a ragged outline."""
    patches = np.clip(1 + 0.75 * texture(s.rng, s.frame.size, 4), 0.15, 2.6)
    red = 0.35 * np.clip(texture(s.rng, s.frame.size, 3), 0, 2) * s.shape
    return s.dark * s.shape * patches, red, _none(s)


def _vascular(s: Lesion) -> Pigment:
    """Draw red lacunes, close together."""
    y, x = scattered(s.rng, s.rng.uniform(0.24, 0.3), 0.25)
    lakes = s.frame.dots(y, x, s.rng.uniform(0.09, 0.13, y.size)) * s.shape
    return 0.1 * s.shape, s.dark * (0.45 * s.shape + 0.8 * lakes), _none(s)


def _keratosis(s: Lesion) -> Pigment:
    """Draw white cysts and dark plugs on brown, sharply edged."""
    sharp = s.frame.soft(s.depth)
    y, x = s.frame.places(s.rng, sharp, 14)
    radii = s.rng.uniform(0.04, 0.07, 14)
    cysts, plugs = s.frame.dots(y[:8], x[:8], radii[:8]), s.frame.dots(y[8:], x[8:], radii[8:])
    return s.dark * (0.7 * sharp + 0.9 * plugs) * (1 - cysts), _none(s), 0.5 * cysts * sharp


def _basal(s: Lesion) -> Pigment:
    """Draw branching vessels over a pink, shiny lesion with blue-grey nests."""
    lines = []
    for _ in range(4):
        at = s.frame.place(s.rng, s.shape)
        stem = walk(s.rng, at, s.rng.uniform(0, 6.3), s.radius * 1.3, 0.25)
        lines.append(stem)
        for k in (5, 9):
            start = (float(stem[k, 0]), float(stem[k, 1]))
            lines.append(walk(s.rng, start, s.rng.uniform(0, 6.3), s.radius * 0.6, 0.2))
    vessels = s.frame.paths(lines, 0.02) * s.shape
    y, x = s.frame.places(s.rng, s.shape, 3)
    nests = s.frame.dots(y, x, s.rng.uniform(0.08, 0.14, 3)) * s.shape
    return 0.7 * nests, 0.22 * s.shape + 0.75 * vessels, 0.12 * s.shape + 0.25 * nests


PATTERNS: Mapping[str, Pattern] = {
    "even-naevus": _even,
    "pigment-network": _network,
    "globules": _globules,
    "starburst": _starburst,
    "blue-white-veil": _veil,
    "regression-scars": _regression,
    "melanoma-irregular": _melanoma,
    "vascular-lacunes": _vascular,
    "keratosis": _keratosis,
    "basal-cell-vessels": _basal,
}
CLASSES = tuple(PATTERNS)
