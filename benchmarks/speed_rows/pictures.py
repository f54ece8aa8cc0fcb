"""Seeded pictures and tasks that both sides are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from medmeta.episode import Episode, LabelledSet, Target


def draw_pictures(
    n_classes: int, per_class: int, size: int, channels: int, *, seed: int = 0
) -> NDArray[np.uint8]:
    """``(n_classes, per_class, size, size, channels)``: a smooth shape per class, and noise.

    They compress about as real pictures of this size do, so that decoding them costs as much.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, size]))
    coarse = random.uniform(40, 215, (n_classes, 1, 8, 8, channels)).astype(np.float32)
    places = np.linspace(0, 7, size)
    low = np.minimum(places.astype(int), 6)
    weight = (places - low).astype(np.float32)
    across = np.zeros((size, 8), dtype=np.float32)
    across[np.arange(size), low], across[np.arange(size), low + 1] = 1 - weight, weight
    smooth = np.einsum("ya,xb,ckabd->ckyxd", across, across, coarse)
    noise = random.normal(0, 12, (n_classes, per_class, size, size, channels)).astype(np.float32)
    pictures: NDArray[np.uint8] = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    return pictures


def write_folder(folder: Path, n_classes: int, per_class: int, size: int, channels: int) -> None:
    """A folder per class of PNG files, unless they are there already."""
    done = folder / "all-written"
    if done.exists():
        return
    pictures = draw_pictures(n_classes, per_class, size, channels)
    for code, of_class in enumerate(pictures):
        place = folder / "images" / f"class-{code:03d}"
        place.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(of_class):
            plain = picture[:, :, 0] if channels == 1 else picture
            Image.fromarray(plain).save(place / f"{number:04d}.png")
    done.touch()


def seeded_episode(
    seed: int, n_tasks: int, way: int, shot: int, n_query: int, shape: tuple[int, int, int]
) -> Episode:
    """Tasks as tensors, ``shape`` is ``(C, H, W)``: classes differ by their mean picture."""
    random = torch.Generator().manual_seed(seed)
    means = torch.randn(n_tasks, way, 1, *shape, generator=random)

    def part(per_class: int) -> LabelledSet:
        noise = torch.randn(n_tasks, way, per_class, *shape, generator=random)
        labels = torch.arange(way).repeat_interleave(per_class).expand(n_tasks, -1).contiguous()
        return LabelledSet((means + noise).flatten(1, 2), labels, torch.arange(n_tasks))

    return Episode(part(shot), part(n_query), Target("classes", way))
