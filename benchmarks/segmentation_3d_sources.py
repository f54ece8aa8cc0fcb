"""What segmentation in three dimensions is measured on: made-up structures and two real sets.

``made`` structures are of anatomies that no training saw. ``brain regions`` are those of TorchIO's
label map of one brain, painted in greys drawn by chance: the support shows a region of one side,
the query asks for its partner on the other, mirrored. ``lesions`` are four patients' white matter
lesions that changed between two dates, marked on the difference of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from medmeta.data._draw_volumes import VOLUME_KINDS, Look
from medmeta.data.synthetic_structures import synthetic_structures

SIDE, OF_A_KIND, VOLUMES, SEED = 24, 8, 5, 2026
REGIONS = 24
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Blocks:
    """One task: volumes ``(n, SIDE, SIDE, SIDE)`` and masks of one structure; the last is asked."""

    group: str
    pixels: Pixels
    masks: Pixels


def made_blocks() -> Iterator[Blocks]:
    """A structure of each anatomy, the one that is marked in most of its volumes."""
    for kind in VOLUME_KINDS:
        made = synthetic_structures(
            OF_A_KIND, images=VOLUMES, size=SIDE, depth=SIDE, channels=1, seed=SEED, kinds=(kind,)
        )
        assert made.masks is not None
        for number in range(OF_A_KIND):
            rows = slice(number * VOLUMES, (number + 1) * VOLUMES)
            masks = made.masks[rows]
            sizes = np.stack([(masks == v).sum((1, 2, 3)) for v in range(1, 5)])
            value = 1 + int(np.sort(sizes, axis=1)[:, 1].argmax())
            yield Blocks(f"made: {kind}", made.pixels[rows, 0], (masks == value).astype(np.uint8))


def brain_blocks(data: Path) -> Iterator[Blocks]:
    """Regions of one side and their mirrored partners, at 2 mm."""
    held = cast(Any, nibabel.load(data / "nifti" / "torchio_t1_seg_gif.nii.gz"))
    labels = np.asarray(held.dataobj)
    labels = np.ascontiguousarray(labels[::2, ::2, ::2])
    pairs = _partners(labels)
    group = np.arange(256, dtype=np.int64)
    for left, right in pairs:
        group[right] = left
    mirrored = labels[:, :, ::-1]
    for number, (left, right) in enumerate(pairs[:REGIONS]):
        random = Generator(Philox(key=[SEED, number]))
        look = Look(random, 256)
        pixels, masks = [], []
        for volume, value in ((labels, left), (mirrored, right)):
            block = _around(volume, value, random)
            pixels.append(look.painted(group[block].astype(np.uint8), random))
            masks.append((block == value).astype(np.uint8))
        yield Blocks("brain regions", np.stack(pixels), np.stack(masks))


def _partners(labels: Pixels) -> list[tuple[int, int]]:
    """Labels on either side of the middle that lie as in a mirror and are about as large."""
    middle = np.argwhere(labels > 0)[:, 2].mean()
    places, sizes = {}, {}
    for value in np.unique(labels[labels > 0]).tolist():
        own = np.argwhere(labels == value)
        if 300 < len(own) < 8000:
            places[value], sizes[value] = own.mean(0), len(own)
    found = []
    for value, place in places.items():
        if place[2] > middle - 4:
            continue
        other = place * [1, 1, -1] + [0, 0, 2 * middle]
        nearest = min(places, key=lambda v: float(np.linalg.norm(places[v] - other)))
        near = np.linalg.norm(places[nearest] - other) < 5
        if near and 0.6 < sizes[nearest] / sizes[value] < 1.6:
            found.append((value, nearest))
    return found


def _around(volume: Pixels, value: int, random: Generator) -> Pixels:
    middle = np.argwhere(volume == value).mean(0) + random.uniform(-3, 3, 3)
    first = [
        int(np.clip(round(at) - SIDE // 2, 0, n - SIDE))
        for at, n in zip(middle, volume.shape, strict=True)
    ]
    return volume[tuple(slice(at, at + SIDE) for at in first)]


def lesions(data: Path) -> list[tuple[Pixels, Pixels]]:
    """Of each patient the difference of the two dates ``(n, H, W)``, 128 where nothing changed.

    With it the mask of lesions that are new or have changed.
    """
    with np.load(data / "longitudinal" / "ms_flair.npz") as held:
        images, masks = held["images_t"].astype(np.int16), held["masks"]
        patients, numbers = held["patient_ids"], held["slice_index"]
    found = []
    for name in sorted(set(patients.tolist())):
        rows = np.flatnonzero(patients == name)
        rows = rows[np.argsort(numbers[rows])]
        changed = np.clip(128 + images[rows, 1] - images[rows, 0], 0, 255).astype(np.uint8)
        found.append((changed, masks[rows].astype(np.uint8)))
    return found


def write_nifti(folder: Path, volumes: list[tuple[Pixels, Pixels]]) -> None:
    """Images and masks as a source of volumes, so that they are read as they were written."""
    for kind, number in (("images", 0), ("masks", 1)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for place, pair in enumerate(volumes):
            stored = np.ascontiguousarray(pair[number].transpose(2, 1, 0)[::-1, ::-1])
            image = nibabel.Nifti1Image(stored, np.eye(4))
            nibabel.save(image, folder / kind / f"{place}.nii.gz")
