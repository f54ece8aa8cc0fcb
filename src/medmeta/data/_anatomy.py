"""Shapes that synthetic anatomy is put together from, and what is measured on their masks.

Coordinates are ``(y, x)`` in ``[-1, 1]``, y downwards. A *depth* is about the distance to a shape's
edge, positive inside; a *coverage* is how much of each pixel the shape fills, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """Where the chance of one picture comes from, each a generator at its start.

    ``body`` is the same for all pictures of a patient, ``scanner`` for all of a site; ``scene`` and
    ``grain`` are the picture's own, apart so that the scene does not depend on the picture's size.
    """

    size: int
    body: Generator
    scanner: Generator
    scene: Generator
    grain: Generator


@dataclass(frozen=True)
class Picture:
    """``pixels`` ``(C, H, W)`` in 0 to 1, and ``mask`` ``(H, W)``."""

    pixels: Array
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """Body coordinates of each pixel, and the pose (turn, zoom, shift) that made them."""

    y: Array
    x: Array
    turn: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def posed(
        cls, rng: Generator, size: int, *, turn: float, zoom: float, shift: float, warp: float
    ) -> Frame:
        """Draw a random pose: the largest turn (radians), log zoom, shift and bending."""
        angle = rng.uniform(-turn, turn)
        scale = float(np.exp(rng.uniform(-zoom, zoom)))
        dy, dx = rng.uniform(-shift, shift, 2)
        py, px = grid(size)
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        y = cos * (py - dy) - sin * (px - dx) + warp * texture(rng, size, 3)
        x = sin * (py - dy) + cos * (px - dx) + warp * texture(rng, size, 3)
        return cls(y, x, float(angle), scale, (float(dy), float(dx)))

    @property
    def size(self) -> int:
        """Pixels along a side."""
        return len(self.y)

    def soft(self, depth: Array, edge: float = 1.0) -> Array:
        """Coverage of a shape by its depth; ``edge`` is the width of its border in pixels of 64.

        A border is never sharper than the picture's own pixels.
        """
        width = max(edge / 32, 2 / self.size)
        covered: Array = np.clip(0.5 + depth / width, 0, 1)
        return covered

    def ellipse(self, cy: float, cx: float, ry: float, rx: float, angle: float = 0.0) -> Array:
        """Depth of an ellipse."""
        cos, sin = np.cos(angle), np.sin(angle)
        u = cos * (self.y - cy) + sin * (self.x - cx)
        v = cos * (self.x - cx) - sin * (self.y - cy)
        depth: Array = (1 - np.sqrt((u / ry) ** 2 + (v / rx) ** 2)) * min(ry, rx)
        return depth

    def blob(
        self,
        rng: Generator,
        centre: tuple[float, float],
        radius: float,
        *,
        rough: float = 0.1,
        stretch: float = 1.3,
        spikes: int = 0,
    ) -> Array:
        """Depth of a round shape with a wavy edge; ``spikes`` adds that many points to it."""
        angle = rng.uniform(0, np.pi)
        long = radius * np.sqrt(rng.uniform(1, stretch))
        cos, sin = np.cos(angle), np.sin(angle)
        u = (cos * (self.y - centre[0]) + sin * (self.x - centre[1])) / long
        v = (cos * (self.x - centre[1]) - sin * (self.y - centre[0])) * long / radius**2
        theta = np.arctan2(u, v)
        edge = 1 + sum(
            rough * rng.normal() / k * np.cos(k * theta + rng.uniform(0, 6.3)) for k in (2, 3, 5)
        )
        if spikes:
            points = np.abs(np.cos(spikes / 2 * theta + rng.uniform(0, 6.3))) ** 6
            uneven = 1 + 0.5 * np.cos(2 * theta + rng.uniform(0, 6.3))
            edge = 0.9 * edge + 0.4 * points * uneven
        depth: Array = (edge - np.hypot(u, v)) * radius
        return depth

    def dots(
        self,
        cy: ArrayLike,
        cx: ArrayLike,
        ry: ArrayLike,
        rx: ArrayLike | None = None,
        angle: ArrayLike = 0.0,
    ) -> Array:
        """Coverage of many small ellipses, each drawn in a window of its own."""
        half, size = self.size / 2, self.size
        given = np.broadcast_arrays(*np.atleast_1d(cy, cx, ry, ry if rx is None else rx, angle))
        cy, cx, ry, rx, angle = (a.reshape(-1, 1, 1) for a in given)
        cos, sin = np.cos(self.turn) * self.zoom, np.sin(self.turn) * self.zoom
        py = (cos * cy + sin * cx + self.shift[0] + 1) * half - 0.5
        px = (cos * cx - sin * cy + self.shift[1] + 1) * half - 0.5
        a, b = ry * self.zoom * half, rx * self.zoom * half
        out = np.zeros(size * size)
        if not a.size:
            return out.reshape(size, size)
        reach = int(np.ceil(max(a.max(), b.max()))) + 1
        window = np.arange(-reach, reach + 1)
        iy = np.rint(py).astype(np.intp) + window[:, None]
        ix = np.rint(px).astype(np.intp) + window
        dy, dx = iy - py, ix - px
        cos, sin = np.cos(angle - self.turn), np.sin(angle - self.turn)
        q = np.sqrt(((cos * dy + sin * dx) / a) ** 2 + ((cos * dx - sin * dy) / b) ** 2)
        cover = np.clip(0.5 + (1 - q) * np.minimum(a, b), 0, 1)
        seen = (cover > 0) & (iy >= 0) & (iy < size) & (ix >= 0) & (ix < size)
        np.maximum.at(out, (iy * size + ix)[seen], cover[seen])
        return out.reshape(size, size)

    def paths(self, lines: Sequence[Array], width: float) -> Array:
        """Coverage of curves, each ``(k, 2)`` points; ``width`` is half their thickness."""
        dense = []
        for line in lines:
            along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
            steps = np.linspace(0, along[-1], 2 + int(along[-1] * self.size * 0.6))
            dense.append(np.stack([np.interp(steps, along, line[:, i]) for i in (0, 1)]))
        y, x = np.concatenate(dense, axis=1) if dense else np.zeros((2, 0))
        return self.dots(y, x, max(width, 0.8 / self.size))

    def place(self, rng: Generator, region: Array) -> tuple[float, float]:
        """Body coordinates of a random pixel that the region covers (its fullest where none is)."""
        flat = region.ravel()
        inside = np.flatnonzero(flat > min(0.5, 0.9 * flat.max()))
        pixel = inside[int(rng.uniform() * len(inside))] if len(inside) else len(flat) // 2
        return float(self.y.flat[pixel]), float(self.x.flat[pixel])

    def places(self, rng: Generator, region: Array, n: int) -> tuple[Array, Array]:
        """Coordinates ``y, x`` of ``n`` such pixels."""
        y, x = np.array([self.place(rng, region) for _ in range(n)]).T
        return y, x

    def bent(self, y: Array, x: Array) -> Frame:
        """Keep the pose, with other body coordinates."""
        return replace(self, y=y, x=x)


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Array, Array]:
    """Coordinates ``(y, x)`` of the pixel centres."""
    line = (np.arange(size) + 0.5) * 2 / size - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    return y, x


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> Array:
    """Cubic B-spline weights ``(size, cells + 3)`` of a coarse row's values."""
    at = (np.arange(size) + 0.5) * cells / size
    away = np.abs(at[:, None] - (np.arange(cells + 3) - 1))
    near, far = 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6
    weights: Array = np.where(away < 1, near, far)
    return weights


def texture(rng: Generator, size: int, cells: int) -> Array:
    """Draw a smooth random field of about unit spread, ``cells`` bumps along a side."""
    weights = _spline(size, cells)
    field: Array = 2.1 * (weights @ rng.standard_normal((cells + 3, cells + 3)) @ weights.T)
    return field


def walk(
    rng: Generator, start: tuple[float, float], heading: float, length: float, wander: float
) -> Array:
    """Draw a wandering curve ``(16, 2)``; ``heading`` 0 points right, pi / 2 down."""
    turns = heading + np.cumsum(rng.normal(0, wander, 15))
    steps = np.stack([np.sin(turns), np.cos(turns)], axis=1) * length / 15
    line: Array = np.concatenate([[start], start + np.cumsum(steps, axis=0)])
    return line


def scattered(rng: Generator, spacing: float, jitter: float = 0.35) -> tuple[Array, Array]:
    """Points about ``spacing`` apart all over the picture: a turned lattice, shaken."""
    line = np.arange(-1.6, 1.6, spacing)
    y, x = (a.ravel() for a in np.meshgrid(line, line, indexing="ij"))
    y, x = (a + rng.uniform(-jitter, jitter, a.size) * spacing for a in (y, x))
    angle = rng.uniform(0, np.pi)
    y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    seen = np.maximum(np.abs(y), np.abs(x)) < 1.1
    return y[seen], x[seen]


def lay(field: Array, cover: Array, value: float | Array) -> Array:
    """Blend ``value`` into the field where a structure covers it."""
    laid: Array = field * (1 - cover) + value * cover
    return laid


def label_map(*layers: Array) -> NDArray[np.uint8]:
    """Mask from coverages of structure 1, 2, ...; later ones lie on top.

    >>> label_map(np.array([[1.0, 1.0]]), np.array([[0.0, 0.8]])).tolist()
    [[1, 2]]
    """
    mask = np.zeros(layers[0].shape, dtype=np.uint8)
    for number, layer in enumerate(layers, start=1):
        # A structure thinner than a pixel is still marked where it is fullest.
        mask[layer > max(min(0.5, 0.7 * float(layer.max())), 1e-3)] = number
    return mask


def diameter(mask: NDArray[np.uint8], structure: int) -> float:
    """Diameter of the circle of equal area, as a fraction of the picture's width.

    >>> round(diameter(np.ones((10, 10), np.uint8), 1), 4)  # 2 sqrt(100 / pi) / 10
    1.1284
    """
    return float(2 * np.sqrt((mask == structure).sum() / np.pi) / mask.shape[1])


def area_share(mask: NDArray[np.uint8], part: int, whole: Sequence[int]) -> float:
    """Area of one structure over that of several; 0 where there is none of them."""
    total = int(np.isin(mask, whole).sum())
    return float((mask == part).sum() / total) if total else 0.0


def width_ratio(mask: NDArray[np.uint8], part: int) -> float:
    """Greatest horizontal extent of one structure over that of all of them.

    >>> width_ratio(np.array([[0, 1, 2, 1, 1]], np.uint8), 2)
    0.25
    """
    columns = np.flatnonzero((mask == part).any(axis=0))
    both = np.flatnonzero((mask > 0).any(axis=0))
    return float(np.ptp(columns) + 1) / float(np.ptp(both) + 1) if columns.size else 0.0
