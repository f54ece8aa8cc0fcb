"""Changes that fit the modality: drawn as numbers first, applied to a whole batch afterwards.

What may be drawn is the table's (``modality_table``). Drawing is a function of a generator alone,
so a task is altered the same way whenever it is drawn, on whatever device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medmeta.data.preprocess import as_float
from medmeta.episodes.modality_table import Allowed
from medmeta.episodes.per_task import PerTask

_TILE = 64  # the side of the noise that a task's pictures are given parts of


@dataclass(frozen=True)
class Alterations(PerTask):
    """What happens to each of ``n`` pictures of a task, or ``(T, n)`` of several.

    ``map`` ``(..., n, 2, 2)`` and ``move`` ``(..., n, 2)`` say where a place ``(x, y)`` of the
    altered picture comes from, measured from its middle in half sides. ``gain`` ``(..., n, C)``
    multiplies and ``brightness`` ``(..., n)`` is added; ``softness`` ``(..., n)`` is the blurred
    share. ``noise`` ``(..., n)`` is the deviation of a noise, which begins in ``tile``
    ``(..., 64, 64)`` at ``corner`` ``(..., n, 2)``, goes on round the tile's edges, and is the same
    in all channels.
    """

    map: NDArray[np.float32]
    move: NDArray[np.float32]
    gain: NDArray[np.float32]
    brightness: NDArray[np.float32]
    softness: NDArray[np.float32]
    noise: NDArray[np.float32]
    tile: NDArray[np.float32]
    corner: NDArray[np.int64]


def draw_alterations(
    random: np.random.Generator, n: int, n_channels: int, allowed: Allowed, *, colour: bool
) -> Alterations:
    """Draw what happens to ``n`` pictures; uniformly within what is allowed.

    ``colour``: their channels differ, so that they may vary against each other. The same numbers
    are drawn whatever is allowed: of two tables, the one that forbids something forbids just that.
    """
    mirrored = np.full(n, random.random() < 0.5) & allowed.mirror
    turns, turned_over = random.integers(4, size=n), random.random(n) < 0.5
    if allowed.any_way_up:
        mirrored = turned_over
    angle = np.radians(allowed.rotation) * random.uniform(-1, 1, n)
    angle = angle + np.pi / 2 * turns * allowed.any_way_up
    scale = (1 + allowed.zoom) ** random.uniform(-1, 1, n)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    over = np.where(mirrored, -1.0, 1.0)
    back = np.stack([over * cos, over * -sin, sin, cos], axis=-1).reshape(n, 2, 2)
    gain = 1 + allowed.gain * random.uniform(-1, 1, (n, 1))
    tints = 1 + allowed.colour * colour * random.uniform(-1, 1, (n, n_channels))
    return Alterations(
        map=back.astype(np.float32),
        move=(2 * allowed.shift * random.uniform(-1, 1, (n, 2))).astype(np.float32),
        gain=(gain * tints).astype(np.float32),
        brightness=(allowed.brightness * random.uniform(-1, 1, n)).astype(np.float32),
        softness=(allowed.softness * random.uniform(0, 1, n)).astype(np.float32),
        noise=(allowed.noise * random.uniform(0, 1, n)).astype(np.float32),
        tile=random.standard_normal((_TILE, _TILE), dtype=np.float32),
        corner=random.integers(_TILE, size=(n, 2)),
    )


def apply_alterations(images: Tensor, drawn: Alterations) -> Tensor:
    """Altered pictures ``(..., n, C, [D,] H, W)``, normalised float32 within -2 to 2.

    ``images`` are stored pixels (uint8) or normalised already. All slices of a volume are altered
    alike. Beyond a picture's edge lies what is
    at its edge. In this order: moved and turned (bilinear), blurred, gain, brightness, noise.
    """
    normalised = as_float(images) if images.dtype == torch.uint8 else images
    shape, channels = normalised.shape, drawn.gain.shape[-1]
    # Slices of a volume lie beside its channels.
    flat = normalised.reshape(drawn.softness.size, -1, *shape[-2:])
    flat = _softened(_moved(flat, drawn), _on(drawn.softness, flat))
    slices = flat.shape[1] // channels
    flat = flat * _on(drawn.gain, flat, channels).repeat_interleave(slices, dim=1)
    flat = flat.add_(_on(drawn.brightness, flat)).add_(_noise(drawn, flat))
    return flat.clamp_(-2.0, 2.0).reshape(shape)


def moved_masks(masks: Tensor, drawn: Alterations) -> Tensor:
    """Masks ``(..., n, [D,] H, W)`` moved as their images are; each takes the nearest label."""
    flat = masks.reshape(drawn.softness.size, -1, *masks.shape[-2:])
    moved = _moved(flat.float(), drawn, mode="nearest")
    return moved.round_().to(masks.dtype).reshape(masks.shape)


def _moved(images: Tensor, drawn: Alterations, *, mode: str = "bilinear") -> Tensor:
    """``(N, C, H, W)`` turned, mirrored, zoomed and shifted in one go."""
    n, _, height, width = images.shape
    back = torch.from_numpy(drawn.map).to(images.device).reshape(n, 2, 2)
    move = torch.from_numpy(drawn.move).to(images.device).reshape(n, 2, 1)
    aspect = images.new_tensor([[1.0, height / width], [width / height, 1.0]])  # angles stay angles
    grid = F.affine_grid(
        torch.cat([back * aspect, move], 2), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)


def _softened(images: Tensor, share: Tensor) -> Tensor:
    """A share of each picture from its blur by 1-2-1 along both axes."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")  # sums: a convolution takes longer
    down = padded[..., :-2, :] + padded[..., 2:, :]
    down.add_(padded[..., 1:-1, :], alpha=2)
    blurred = down[..., :-2] + down[..., 2:]
    blurred.add_(down[..., 1:-1], alpha=2).div_(16)
    return images.lerp(blurred, share)


def _noise(drawn: Alterations, images: Tensor) -> Tensor:
    """``(N, 1, H, W)``: a part of the task's tile for each picture, at its deviation."""
    n, _, height, width = images.shape
    tiles = torch.from_numpy(drawn.tile).to(images.device).reshape(-1, _TILE, _TILE)
    corner = torch.from_numpy(drawn.corner).to(images.device).reshape(n, 2)
    task = torch.arange(n, device=images.device) // (n // len(tiles))
    down = (corner[:, :1] + torch.arange(height, device=images.device)) % _TILE
    along = (corner[:, 1:] + torch.arange(width, device=images.device)) % _TILE
    found = tiles[task[:, None, None], down[:, :, None], along[:, None, :]]
    return found[:, None] * _on(drawn.noise, images)


def _on(values: NDArray[np.float32], images: Tensor, channels: int = 1) -> Tensor:
    """A number for each picture, or for each of its channels, as ``(N, channels, 1, 1)``."""
    return torch.from_numpy(values).to(images.device).reshape(-1, channels, 1, 1)
