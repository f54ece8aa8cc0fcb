"""Pictures changed at random before the network sees them, so that modality matters little."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = torch.tensor([0.299, 0.587, 0.114])


def changed(
    pictures: Tensor, turn: Tensor, chance: torch.Generator, *, strength: float = 1.0
) -> Tensor:
    """``(n, 3, H, W)`` in 0 to 1, changed; ``turn`` ``(n,)``: largest angles, radians.

    ``strength``: how much of all changes of levels and colours, and of what is put on the pictures;
    at 0 places alone change.
    """
    pictures = _moved(pictures, turn, chance)
    if strength == 0:
        return pictures
    pictures = _recoloured(pictures, chance, strength)
    pictures = _blurred(pictures, chance, strength)
    n = len(pictures)
    noise = torch.randn(pictures.shape, generator=chance)
    amount = 0.08 * torch.rand(n, 1, 1, 1, generator=chance) * _some(n, 0.25 * strength, chance)
    pictures = pictures + amount * noise
    return _covered(pictures, chance, strength).clamp(0, 1)


def as_network_takes(pictures: Tensor) -> Tensor:
    """From 0 to 1 to the range -2 to 2 in which encoders are given images."""
    return pictures * 4 - 2


def _some(n: int, share: float, chance: torch.Generator) -> Tensor:
    """1 for about this share of the pictures, else 0: ``(n, 1, 1, 1)``."""
    return (torch.rand(n, 1, 1, 1, generator=chance) < share).float()


def _moved(pictures: Tensor, turn: Tensor, chance: torch.Generator) -> Tensor:
    """Turned, mirrored, stretched, cut out and shifted, by one sampling."""
    n = len(pictures)
    drawn = torch.rand(n, 6, generator=chance) * 2 - 1
    angle = drawn[:, 0] * turn
    scale = torch.exp(drawn[:, 1] * 0.25 - 0.05)  # mostly closer
    wide, tall = scale * torch.exp(0.12 * drawn[:, 2]), scale * torch.exp(-0.12 * drawn[:, 2])
    wide = wide * torch.sign(torch.rand(n, generator=chance) - 0.5)
    cos, sin = torch.cos(angle), torch.sin(angle)
    shift = 0.12 * drawn[:, 3:5]
    rows = torch.stack([
        torch.stack([cos * wide, -sin * tall, shift[:, 0]], 1),
        torch.stack([sin * wide, cos * tall, shift[:, 1]], 1),
    ], 1)  # fmt: skip
    grid = F.affine_grid(rows, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _recoloured(pictures: Tensor, chance: torch.Generator, strength: float) -> Tensor:
    """Contrast, brightness, gamma, hue; sometimes grey, sometimes with greys turned round."""
    n = len(pictures)
    drawn = strength * (torch.rand(n, 4, 1, 1, 1, generator=chance) * 2 - 1)
    angle = (drawn[:, 3] * 0.4 * math.pi * _some(n, 0.35 * strength, chance)).flatten()
    pictures = torch.einsum("nij,njhw->nihw", _hue(angle), pictures)
    grey = torch.einsum("c,nchw->nhw", GREY, pictures)[:, None].expand_as(pictures)
    turned_grey = _some(n, 0.2 * strength, chance)
    pictures = pictures * (1 - turned_grey) + grey * turned_grey
    pictures = pictures.clamp(0, 1).clamp(min=1e-4) ** torch.exp(0.5 * drawn[:, 2])
    middle = pictures.flatten(1).mean(1)[:, None, None, None]
    pictures = middle + (pictures - middle) * torch.exp(0.4 * drawn[:, 0]) + 0.15 * drawn[:, 1]
    inverted = _some(n, 0.08 * strength, chance)
    return (pictures * (1 - inverted) + (1 - pictures) * inverted).clamp(0, 1)


def _hue(angle: Tensor) -> Tensor:
    """Rotations about the grey axis, ``(n, 3, 3)``."""
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    mean = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return cos * torch.eye(3) + (1 - cos) * mean + sin * cross


def _blurred(pictures: Tensor, chance: torch.Generator, strength: float) -> Tensor:
    some = torch.nonzero(torch.rand(len(pictures), generator=chance) < 0.15 * strength).flatten()
    if len(some) == 0:
        return pictures
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (line[:, None] * line[None]).expand(3, 1, 5, 5)
    pictures = pictures.clone()
    padded = F.pad(pictures[some], (2, 2, 2, 2), mode="reflect")
    pictures[some] = F.conv2d(padded, kernel, groups=3)
    return pictures


def _covered(pictures: Tensor, chance: torch.Generator, strength: float) -> Tensor:
    """A rectangle of one level over every fifth picture."""
    n, _, height, width = pictures.shape
    y, x = torch.arange(height)[None, :, None], torch.arange(width)[None, None]
    drawn = torch.rand(n, 5, generator=chance)
    top, left = (drawn[:, 0] * height)[:, None, None], (drawn[:, 1] * width)[:, None, None]
    tall = ((0.1 + 0.25 * drawn[:, 2]) * height)[:, None, None]
    wide = ((0.1 + 0.25 * drawn[:, 3]) * width)[:, None, None]
    inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
    inside = inside[:, None].float() * _some(n, 0.2 * strength, chance)
    return pictures * (1 - inside) + inside * drawn[:, 4, None, None, None]
