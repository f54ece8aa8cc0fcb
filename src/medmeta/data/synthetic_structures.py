"""Made-up anatomies with masks: random shapes, contrasts, textures and deformations.

For learning to mark structures across thousands of them, as SynthSeg and UniverSeg do (Billot et
al. 2023; Butoi et al. 2023, section 3.2). They look like nothing; what learns from them must look
at the support. An anatomy is of one of four kinds: ``regions`` fill the picture, ``organs`` lie in
a body, ``tubes`` branch anew in each picture, ``cells`` are strewn anew in each; of volumes
``sheets`` are a fifth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from scipy import ndimage

from medmeta.data._anatomy import texture
from medmeta.data._draw_volumes import VOLUME_KINDS, anatomy_of_volumes
from medmeta.data.index import Column
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.errors import DataError, SettingsError, UnknownNameError

KINDS = ("regions", "organs", "tubes", "cells")
MOST = 4  # structures of an anatomy
Array = NDArray[np.float32]
_NAME = "synthetic:structures"
_NAMED = re.compile(rf"{_NAME}(:(?P<count>[1-9]\d{{0,4}})(:(?P<seed>\d{{1,9}}))?)?")


def synthetic_structures(
    n_anatomies: int,
    *,
    images: int = 12,
    size: int = 128,
    depth: int = 0,
    channels: int = 3,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
) -> Source:
    """Anatomies as one source: ``images`` pictures of each, a family by itself.

    With ``depth`` volumes of so many slices; ``kinds`` are all of ``KINDS``, or of
    ``VOLUME_KINDS``, unless named. Each anatomy depends on the seed, its number, the size and
    ``kinds`` alone. Raises ``SettingsError``, ``UnknownNameError``.

    >>> source = synthetic_structures(4, images=2, size=32)
    >>> len(source), source.gather_masks(np.array([0])).shape
    (8, (1, 32, 32))
    """
    if n_anatomies < 1 or images < 1 or not 16 <= size <= 256 or channels not in (1, 3):
        raise SettingsError(
            f"{n_anatomies} anatomies of {images} images with {channels} channels at {size} "
            "pixels: ask for one or more of each, 1 or 3 channels, and 16 to 256 pixels."
        )
    if depth and not 8 <= depth <= 256:
        raise SettingsError(f"volumes of {depth} slices: ask for 8 to 256.")
    there = VOLUME_KINDS if depth else KINDS
    chosen = there if kinds is None else tuple(kinds)
    for kind in chosen:
        if kind not in there:
            raise UnknownNameError("kind of anatomy", kind, there)
    shape = (depth, size, size) if depth else (size, size)
    pixels = np.empty((n_anatomies * images, channels, *shape), dtype=np.uint8)
    masks = np.empty((n_anatomies * images, *shape), dtype=np.uint8)
    for number in range(n_anatomies):
        rows = slice(number * images, (number + 1) * images)
        random = Generator(Philox(key=np.array([seed, number], dtype=np.uint64)))
        if depth:
            shown, masks[rows] = anatomy_of_volumes(random, images, shape, chosen, most=MOST)
            pixels[rows] = shown[:, None]
        else:
            pixels[rows], masks[rows] = _anatomy(random, images, size, channels, chosen)
    source = Source.from_arrays("synthetic-structures", pixels, labels=["anatomy"] * len(pixels))
    families = [f"anatomy {row // images:04d}" for row in range(len(pixels))]
    names = tuple(f"structure {value}" for value in range(1, MOST + 1))
    others = {"family": Column.from_texts(families)}
    index = replace(source.index, labels=None, others=others, structures=names)
    return replace(source, index=index, masks=masks)


def structures_source(path: Path, preprocessing: Preprocessing) -> Source:
    """What ``synthetic:structures`` names: 200 anatomies of 8 images each, or volumes.

    ``synthetic:structures:1000:7`` are 1000 of them by the seed 7. Raises ``DataError`` for another
    name.
    """
    found = _NAMED.fullmatch(str(path))
    if found is None:
        raise DataError(f"{path}: there is no such source with masks; there is {_NAME}.")
    return synthetic_structures(
        int(found["count"] or 200),
        images=8,
        size=preprocessing.size,
        depth=preprocessing.depth,
        channels=preprocessing.channels,
        seed=int(found["seed"] or 0),
    )


def _anatomy(
    random: Generator, images: int, size: int, channels: int, kinds: Sequence[str]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pictures ``(n, C, H, W)`` and masks ``(n, H, W)`` of one anatomy."""
    kind = kinds[int(random.integers(len(kinds)))]
    n = int(random.integers(1, MOST + 1))
    draw = {"regions": _regions, "organs": _organs, "tubes": _tubes, "cells": _cells}[kind]
    template = draw(random, size, n)
    fresh = kind in ("tubes", "cells")
    look = _Look(random, n + 2, channels)
    bend, turn = random.uniform(0.02, 0.12), random.uniform(0, 0.5)
    pixels, masks = [], []
    for _ in range(images):
        labels = draw(random, size, n) if fresh else _warped(template, random, bend, turn)
        pixels.append(look.painted(labels, random))
        masks.append(np.where(labels > n, 0, labels).astype(np.uint8))
    return np.stack(pixels), np.stack(masks)


def _noise(random: Generator, size: int, cells: float) -> Array:
    """Smooth noise ``(size, size)`` of unit deviation, with about ``cells`` bumps along a side."""
    fine = texture(random, size, max(2, round(cells)))
    return np.asarray((fine - fine.mean()) / (fine.std() + 1e-6), dtype=np.float32)


def _grid(size: int) -> tuple[Array, Array]:
    line = np.linspace(-1, 1, size, dtype=np.float32)
    y, x = np.meshgrid(line, line, indexing="ij")
    return y, x


def _blob(random: Generator, size: int, radius: float, reach: float) -> NDArray[np.bool_]:
    y, x = _grid(size)
    cy, cx = random.uniform(-reach, reach, 2)
    angle, stretch = random.uniform(0, np.pi), np.exp(random.uniform(-0.5, 0.5))
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    edge = radius * (1 + random.uniform(0, 0.25) * _noise(random, size, random.uniform(2, 6)))
    return np.asarray((u / stretch) ** 2 + (v * stretch) ** 2 < edge**2)


def _regions(random: Generator, size: int, n: int) -> NDArray[np.uint8]:
    fields = [_noise(random, size, random.uniform(1, 4)) for _ in range(n + 2)]
    return np.asarray(np.argmax(np.stack(fields), axis=0), dtype=np.uint8)


def _organs(random: Generator, size: int, n: int) -> NDArray[np.uint8]:
    labels = np.zeros((size, size), dtype=np.uint8)
    labels[_blob(random, size, random.uniform(0.7, 1.0), 0.1)] = n + 1
    for number in range(1, n + 1):
        labels[_blob(random, size, random.uniform(0.06, 0.4), 0.55)] = number
    return labels


def _tubes(random: Generator, size: int, n: int) -> NDArray[np.uint8]:
    labels = np.zeros((size, size), dtype=np.uint8)
    for number in range(1, n + 1):
        field = _noise(random, size, random.uniform(1, 4))
        slope = np.hypot(*np.gradient(field)) + 1e-3
        labels[np.abs(field) / slope < random.uniform(0.6, 2.5) * size / 128] = number
    return labels


def _cells(random: Generator, size: int, n: int) -> NDArray[np.uint8]:
    labels = np.zeros((size, size), dtype=np.uint8)
    radius = random.uniform(0.03, 0.12)
    for _ in range(int(random.integers(4, 24))):
        number = int(random.integers(1, n + 1))
        labels[_blob(random, size, radius * (0.6 + 0.3 * number), 0.95)] = number
    return labels


def _warped(
    labels: NDArray[np.uint8], random: Generator, bend: float, turn: float
) -> NDArray[np.uint8]:
    """Bent, turned, moved and zoomed."""
    places = moved_places(random, len(labels), bend, turn)
    moved = ndimage.map_coordinates(labels, places, order=0, mode="nearest")
    return np.asarray(moved, dtype=np.uint8)


def moved_places(random: Generator, size: int, bend: float, turn: float) -> Array:
    """Where each pixel of a bent, turned, moved and zoomed picture comes from.

    ``(2, size, size)``, down and right in pixels. ``bend`` is in half sides of the picture, and
    ``turn`` the largest angle in radians.
    """
    y, x = _grid(size)
    angle, zoom = random.uniform(-turn, turn), np.exp(random.uniform(-0.2, 0.2))
    dy, dx = random.uniform(-0.15, 0.15, 2)
    v = (np.cos(angle) * y - np.sin(angle) * x) * zoom + dy + bend * _noise(random, size, 3)
    u = (np.sin(angle) * y + np.cos(angle) * x) * zoom + dx + bend * _noise(random, size, 3)
    return np.stack([(v + 1) * (size - 1) / 2, (u + 1) * (size - 1) / 2])


class _Look:
    """How an anatomy's labels look: a grey (or colour) and a texture of each, and the device's."""

    def __init__(self, random: Generator, n_labels: int, channels: int) -> None:
        self.colour = channels == 3 and random.random() < 0.4
        self.channels = channels
        self.level = random.uniform(0.1, 0.9, (n_labels, 3 if self.colour else 1))
        self.grain = random.uniform(0, 0.12, n_labels)
        self.cells = np.exp(random.uniform(np.log(4), np.log(32), n_labels))
        self.blur, self.noise = random.uniform(0, 1.2), random.uniform(0, 0.08)
        self.bias = random.uniform(0, 0.25)
        self.jitter = random.uniform(0, 0.06)

    def painted(self, labels: NDArray[np.uint8], random: Generator) -> NDArray[np.uint8]:
        """One picture uint8 ``(C, H, W)``."""
        size = len(labels)
        level = self.level + self.jitter * random.standard_normal(self.level.shape)
        texture = np.zeros((size, size), dtype=np.float32)
        for number in np.unique(labels).tolist():
            rough = self.grain[number] * _noise(random, size, self.cells[number])
            texture = np.where(labels == number, rough, texture)
        flat = level[labels].transpose(2, 0, 1) + texture
        shown = ndimage.gaussian_filter(flat, (0, self.blur, self.blur))
        shown = shown * (1 + self.bias * _noise(random, size, 1)[None] / 2)
        shown = shown + self.noise * random.standard_normal(shown.shape)
        found = np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)
        return np.broadcast_to(found, (self.channels, size, size))
