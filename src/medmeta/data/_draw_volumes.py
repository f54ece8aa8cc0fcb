"""Made-up anatomies in three dimensions, of ``synthetic_structures``: shapes and looks.

Kinds as of pictures, and ``sheets``, which a single slice shows as lines: ``regions`` fill the
volume, ``organs`` lie in a body beside others that are not marked, ``tubes`` and ``sheets`` run
anew through each volume, ``cells`` are strewn anew in each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

VOLUME_KINDS = ("regions", "organs", "tubes", "sheets", "cells")
_ANEW = ("tubes", "sheets", "cells")
Array = NDArray[np.float32]
Labels = NDArray[np.uint8]
Shape = tuple[int, ...]


def anatomy_of_volumes(
    random: Generator, images: int, shape: Shape, kinds: Sequence[str], *, most: int
) -> tuple[NDArray[np.uint8], Labels]:
    """Volumes ``(n, D, H, W)`` and masks of one anatomy with 1 to ``most`` structures."""
    kind = kinds[int(random.integers(len(kinds)))]
    n = int(random.integers(1, most + 1))
    draw = _DRAWN[kind]
    template, look = draw(random, shape, n), Look(random, n + 2)
    bend, turn = random.uniform(0.02, 0.12), random.uniform(0, 0.5)
    pixels, masks = [], []
    for _ in range(images):
        anew = kind in _ANEW
        labels = draw(random, shape, n) if anew else _warped(template, random, bend, turn)
        pixels.append(look.painted(labels, random))
        masks.append(np.where(labels > n, 0, labels).astype(np.uint8))
    return np.stack(pixels), np.stack(masks)


def smooth_noise(random: Generator, shape: Shape, bumps: float) -> Array:
    """Noise of unit deviation and mean 0, with about ``bumps`` bumps along the longest side."""
    longest = max(shape)
    bends = [_bends(side, max(2, round(bumps * side / longest) + 1)) for side in shape]
    drawn = random.standard_normal([weights.shape[1] for weights in bends], dtype=np.float32)
    found = drawn
    for weights in bends:  # each time the first axis, which goes behind the others
        found = np.tensordot(found, weights, axes=(0, 1))
    return np.asarray((found - found.mean()) / (found.std() + 1e-6), dtype=np.float32)


@lru_cache(maxsize=256)
def _bends(side: int, few: int) -> Array:
    """Weights ``(side, few + 2)`` that bend a line through few points: a cubic B-spline's."""
    at = np.linspace(0, few - 1, side)[:, None] + 1
    apart = np.abs(at - np.arange(few + 2))
    near = 2 / 3 - apart**2 + apart**3 / 2
    far = np.clip(2 - apart, 0, None) ** 3 / 6
    return np.where(apart < 1, near, far).astype(np.float32)


def _grid(shape: Shape) -> list[Array]:
    lines = [np.linspace(-1, 1, side, dtype=np.float32) for side in shape]
    return list(np.meshgrid(*lines, indexing="ij"))


def _turn(random: Generator, largest: float) -> NDArray[np.float64]:
    """A rotation by up to an angle about an axis drawn at random (Rodrigues)."""
    axis = random.standard_normal(3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = random.uniform(-largest, largest)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def _blob(random: Generator, shape: Shape, radius: float, reach: float) -> NDArray[np.bool_]:
    """A ball, stretched along three axes and turned, whose radius waves from place to place."""
    at = np.stack(_grid(shape)) - random.uniform(-reach, reach, 3).reshape(3, 1, 1, 1)
    stretch = np.exp(random.uniform(-0.45, 0.45, 3))
    stretch /= np.cbrt(stretch.prod())
    turned = np.einsum("ij,jdhw->idhw", _turn(random, np.pi) / stretch[:, None], at)
    edge = radius * (
        1 + random.uniform(0, 0.25) * smooth_noise(random, shape, random.uniform(2, 5))
    )
    return np.asarray((turned**2).sum(0) < edge**2)


def _regions(random: Generator, shape: Shape, n: int) -> Labels:
    fields = [smooth_noise(random, shape, random.uniform(1, 3)) for _ in range(n + 2)]
    return np.asarray(np.argmax(np.stack(fields), axis=0), dtype=np.uint8)


def _organs(random: Generator, shape: Shape, n: int) -> Labels:
    labels = np.zeros(shape, dtype=np.uint8)
    labels[_blob(random, shape, random.uniform(0.7, 1.0), 0.1)] = n + 1
    for _ in range(int(random.integers(3))):  # neighbours that nobody marks
        labels[_blob(random, shape, random.uniform(0.1, 0.35), 0.6)] = 0
    for number in range(1, n + 1):
        labels[_blob(random, shape, random.uniform(0.12, 0.45), 0.5)] = number
    return labels


def _from_surface(random: Generator, shape: Shape) -> Array:
    """About the distance, in voxels, to a surface that runs through the volume."""
    field = smooth_noise(random, shape, random.uniform(1, 3))
    slope = np.sqrt(sum(np.square(one) for one in np.gradient(field))) + 1e-3
    return np.asarray(np.abs(field) / slope, dtype=np.float32)


def _tubes(random: Generator, shape: Shape, n: int) -> Labels:
    labels = np.zeros(shape, dtype=np.uint8)
    for number in range(1, n + 1):
        apart = np.hypot(_from_surface(random, shape), _from_surface(random, shape))
        labels[apart < random.uniform(1.2, 3.0) * max(shape) / 32] = number
    return labels


def _sheets(random: Generator, shape: Shape, n: int) -> Labels:
    labels = np.zeros(shape, dtype=np.uint8)
    for number in range(1, n + 1):
        labels[_from_surface(random, shape) < random.uniform(0.7, 1.8) * max(shape) / 32] = number
    return labels


def _cells(random: Generator, shape: Shape, n: int) -> Labels:
    labels = np.zeros(shape, dtype=np.uint8)
    radius = random.uniform(0.1, 0.22)
    for _ in range(int(random.integers(4, 14))):
        number = int(random.integers(1, n + 1))
        labels[_blob(random, shape, radius * (0.6 + 0.25 * number), 0.9)] = number
    return labels


_DRAWN: dict[str, Callable[[Generator, Shape, int], Labels]] = {
    "regions": _regions, "organs": _organs, "tubes": _tubes, "sheets": _sheets, "cells": _cells,
}  # fmt: skip


def _warped(labels: Labels, random: Generator, bend: float, turn: float) -> Labels:
    """Bent, turned, moved and zoomed."""
    shape = labels.shape
    at = np.stack(_grid(shape))
    mapped = np.einsum("ij,jdhw->idhw", _turn(random, turn), at)
    mapped *= np.exp(random.uniform(-0.2, 0.2))
    mapped += random.uniform(-0.15, 0.15, 3).reshape(3, 1, 1, 1)
    mapped += bend * np.stack([smooth_noise(random, shape, 3) for _ in range(3)])
    sides = np.array(shape).reshape(3, 1, 1, 1)
    moved = ndimage.map_coordinates(labels, (mapped + 1) * (sides - 1) / 2, order=0, mode="nearest")
    return np.asarray(moved, dtype=np.uint8)


class Look:
    """How an anatomy's labels look: a grey and a texture of each, and what the device does."""

    def __init__(self, random: Generator, n_labels: int) -> None:
        self.level = random.uniform(0.1, 0.9, n_labels)
        self.grain = random.uniform(0, 0.12, n_labels)
        self.bumps = np.exp(random.uniform(np.log(3), np.log(16), n_labels))
        self.blur, self.noise = random.uniform(0, 1.0), random.uniform(0, 0.08)
        self.bias, self.jitter = random.uniform(0, 0.25), random.uniform(0, 0.06)

    def painted(self, labels: Labels, random: Generator) -> NDArray[np.uint8]:
        """One volume uint8 of the labels' shape."""
        level = self.level + self.jitter * random.standard_normal(self.level.shape)
        shown = level[labels].astype(np.float32)
        for number in np.unique(labels).tolist():
            rough = self.grain[number] * smooth_noise(random, labels.shape, self.bumps[number])
            shown += np.where(labels == number, rough, 0)
        shown = ndimage.gaussian_filter(shown, self.blur)
        shown *= 1 + self.bias * smooth_noise(random, labels.shape, 1) / 2
        shown += self.noise * random.standard_normal(shown.shape, dtype=np.float32)
        return np.asarray(np.rint(255 * np.clip(shown, 0, 1)), dtype=np.uint8)
