"""More past tasks: what lies within a structure, and what beside it, from images with masks.

    python benchmarks/past_tasks_patches.py --masks shared/data/segmentation/multi_tasks.npz \
        --out FOLDER

Of every image of one segmentation task a square about its structure, and one as large where none of
it is; so each is a small collection of two classes, of another organ and device than the others.
Images that are of a collection with results of its own are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE, LEAST_SIDE, WIDER = 64, 24, 1.2
TRIED, MOST_INSIDE, DARKEST = 200, 0.02, 0.5
LEAST_IMAGES = 15
LEFT_OUT = ("White-Blood-Cell",)  # photographs of a collection that results are reported on
Bytes = NDArray[np.uint8]


def patches(images: Bytes, masks: Bytes) -> tuple[Bytes, NDArray[np.int64], NDArray[np.int64]]:
    """Squares ``(n, 64, 64, 3)``, their classes (1: within) and the images that they are of.

    Images ``(m, H, W, 3)`` whose structure fills them, or is not there, give none.
    """
    chance = np.random.default_rng(0)
    found: list[Bytes] = []
    labels, rows = [], []
    for row, (image, mask) in enumerate(zip(images, masks > 0, strict=True)):
        if not mask.any():
            continue
        corner, side = about(mask)
        other = beside(image, mask, side, chance)
        if other is None:
            continue
        for label, (top, left) in enumerate((other, corner)):
            square = Image.fromarray(image[top : top + side, left : left + side])
            found.append(np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
            labels.append(label)
            rows.append(row)
    return np.array(found, dtype=np.uint8), np.array(labels), np.array(rows)


def about(mask: NDArray[np.bool_]) -> tuple[tuple[int, int], int]:
    """Corner and side of a square about a structure, within the image.

    >>> mask = np.zeros((128, 128), bool)
    >>> mask[50:80, 60:70] = True
    >>> about(mask)
    ((47, 47), 36)
    """
    ends = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    wide = max(int(e[-1] - e[0]) + 1 for e in ends)
    side = min(max(LEAST_SIDE, round(WIDER * wide)), min(mask.shape))
    middles = [(int(e[0]) + int(e[-1]) + 1) / 2 for e in ends]
    corner = [
        int(np.clip(round(m - side / 2), 0, n - side))
        for m, n in zip(middles, mask.shape, strict=True)
    ]
    return (corner[0], corner[1]), side


def beside(
    image: Bytes, mask: NDArray[np.bool_], side: int, chance: np.random.Generator
) -> tuple[int, int] | None:
    """The corner of a square with almost nothing of the structure, and of tissue, not of air.

    It is about as bright as the structure at least; None where no such was found.
    """
    least = DARKEST * image[mask].mean()
    for _ in range(TRIED):
        top, left = (int(chance.integers(0, n - side + 1)) for n in mask.shape)
        square = (slice(top, top + side), slice(left, left + side))
        if mask[square].mean() <= MOST_INSIDE and image[square].mean() >= least:
            return top, left
    return None


def write_patches(masks: Path, out: Path) -> list[str]:
    """A collection for each task with images enough, as ``patches-NAME.npz``; their names."""
    out.mkdir(parents=True, exist_ok=True)
    with np.load(masks, allow_pickle=False) as held:
        arrays = {name: held[name] for name in ("images", "masks", "task", "task_names")}
    written = []
    for number, task in enumerate(arrays["task_names"].tolist()):
        own = arrays["task"] == number
        found, labels, rows = patches(arrays["images"][own], arrays["masks"][own])
        if task in LEFT_OUT or len(found) < 2 * LEAST_IMAGES:
            continue
        name = f"patches-{task.lower()}"
        np.savez(
            out / f"{name}.npz", images=found, labels=labels, patient_ids=rows.astype(str),
            class_names=np.array(["beside", "within"]),
        )  # fmt: skip
        written.append(name)
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    print("\n".join(write_patches(asked.masks, asked.out)))
