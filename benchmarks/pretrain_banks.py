"""What the model in the box learns from: collections that allow it, and drawn pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.data.synthetic import synthetic_anatomy
from pretrain_programs import FAMILY, Programs, draw, programs

SIZE = 64
FULL_TURN, SMALL_TURN = math.pi, 0.3


@dataclass(frozen=True)
class Bank:
    """Classes with pictures. ``pixels`` uint8 ``(n, 3, 64, 64)``, ``labels`` ``(n,)``.

    ``turn``: the largest angle by which its pictures may be turned and still be what they are.
    """

    name: str
    licence: str
    pixels: Tensor
    labels: Tensor
    turn: float

    @property
    def n_classes(self) -> int:
        """How many classes it has."""
        return int(self.labels.max()) + 1

    def batch(self, n: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        """``n`` pictures in 0 to 1, each class as likely as any other, with their labels."""
        classes = torch.randint(self.n_classes, (n,), generator=chance)
        return self.pictures_of(classes, chance), classes

    def pictures_of(self, classes: Tensor, chance: torch.Generator) -> Tensor:
        """A picture in 0 to 1 of each of the classes ``(n,)``."""
        first, count = self._places
        rows = first[classes] + (torch.rand(len(classes), generator=chance) * count[classes]).long()
        return self.pixels[rows].float() / 255

    @property
    def _places(self) -> tuple[Tensor, Tensor]:
        count = torch.bincount(self.labels)
        return count.cumsum(0) - count, count


@dataclass(frozen=True)
class DrawnBank:
    """Classes that are programs: a batch is drawn when it is asked for."""

    programs: Programs
    name: str = "programs"
    licence: str = "none needed: drawn by benchmarks/pretrain_programs.py"
    turn: float = SMALL_TURN

    @property
    def n_classes(self) -> int:
        """How many classes it has."""
        return len(self.programs.radius)

    def batch(self, n: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        """``n`` pictures, four classes of each family at a time, with their labels."""
        families = torch.randint(self.n_classes // FAMILY, (-(-n // 4),), generator=chance)
        members = torch.stack([torch.randperm(FAMILY, generator=chance)[:4] for _ in families])
        classes = (families[:, None] * FAMILY + members).flatten()[:n]
        return self.pictures_of(classes, chance), classes

    def pictures_of(self, classes: Tensor, chance: torch.Generator) -> Tensor:
        """A picture in 0 to 1 of each of the classes ``(n,)``."""
        return draw(self.programs.of(classes), size=SIZE, chance=chance)


def collection(path: Path, name: str, licence: str, turn: float) -> Bank:
    """One of the collections, as a bank."""
    with np.load(path, allow_pickle=False) as held:
        images, labels = held["images"], held["labels"]
        if "class_is_evaluation" in held:
            kept = held["class_is_evaluation"][labels] == 0
            images, labels = images[kept], np.unique(labels[kept], return_inverse=True)[1]
    return _sorted_bank(name, licence, images, labels, turn)


def _sorted_bank(
    name: str, licence: str, images: np.ndarray, labels: np.ndarray, turn: float
) -> Bank:
    order = np.argsort(labels, kind="stable")
    pixels = torch.from_numpy(np.ascontiguousarray(images[order]))
    pixels = pixels[:, None].expand(-1, 3, -1, -1) if pixels.ndim == 3 else pixels.movedim(3, 1)
    if pixels.shape[-1] != SIZE:
        larger = F.interpolate(pixels.float(), (SIZE, SIZE), mode="bilinear", antialias=True)
        pixels = larger.round().to(torch.uint8)
    return Bank(name, licence, pixels.contiguous(), torch.from_numpy(labels[order]).long(), turn)


def anatomy(images_per_class: int, *, seed: int) -> list[Bank]:
    """The synthetic anatomy, a bank for each modality."""
    banks = []
    for images in synthetic_anatomy(images_per_class=images_per_class, size=SIZE, seed=seed):
        labels = np.unique(images.labels, return_inverse=True)[1]
        pixels = images.pixels.transpose(0, 2, 3, 1)
        pixels = np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels
        turn = FULL_TURN if images.modality in ("histology", "dermoscopy") else SMALL_TURN
        made = "none needed: drawn by medmeta.data.synthetic"
        banks.append(_sorted_bank(images.name, made, pixels, labels, turn))
    return banks


def programs_bank(n_families: int, *, seed: int) -> DrawnBank:
    """The procedural classes."""
    return DrawnBank(programs(n_families, seed=seed))


ALLOWED = (
    ("pbc_blood", "CC BY 4.0", FULL_TURN),
    ("mednist", "CC BY-SA 4.0", SMALL_TURN),
)
"""Collections that the second part of the training adds."""
HANDWRITING = ("omniglot28", "MIT", SMALL_TURN)
DEVELOPMENT = "pneumonia_cxr"
"""Never trained on: what choices are made by."""
