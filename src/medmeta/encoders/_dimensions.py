"""Layers for one, two or three axes of space: signals, images, volumes."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

_CONVOLUTIONS: tuple[type[nn.Conv1d | nn.Conv2d | nn.Conv3d], ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
)
_POOLS: tuple[type[nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d], ...] = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
)


def convolution_of(dimensions: int) -> type[nn.Conv1d | nn.Conv2d | nn.Conv3d]:
    """The convolution over so many axes of space, 1 to 3.

    >>> convolution_of(3).__name__
    'Conv3d'
    """
    return _CONVOLUTIONS[dimensions - 1]


def max_pool(
    dimensions: int,
    kernel: int,
    stride: int | None = None,
    padding: int = 0,
    *,
    ceil_mode: bool = False,
) -> nn.Module:
    """Max-pooling over so many axes of space, 1 to 3."""
    return _POOLS[dimensions - 1](kernel, stride, padding, ceil_mode=ceil_mode)


def averaged(maps: Tensor, factor: int) -> Tensor:
    """Means over cubes (squares, stretches) of ``factor`` along each axis of ``(N, C, *space)``."""
    means = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
    return means[maps.ndim - 3](maps, factor)


def averaged_to(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Means over parts of ``(N, C, *space)``, as many along each axis as ``size`` says."""
    means: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    averages: Tensor = means[maps.ndim - 3](maps, size)
    return averages


def resized(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """``(N, C, *space)`` at another size, linear along each axis."""
    mode = ("linear", "bilinear", "trilinear")[maps.ndim - 3]
    return F.interpolate(maps, size=size, mode=mode, align_corners=False)


def folded(maps: Tensor, factor: int) -> Tensor:
    """``(N, C, *space)`` to ``(N, C * factor ** axes, *space / factor)``: nothing is lost.

    Each square (cube, stretch) of ``factor`` pixels along an edge becomes one place with more
    channels: Shi et al. 2016, over any number of axes.
    """
    if maps.ndim == 4:
        return F.pixel_unshuffle(maps, factor)
    n, channels, *space = maps.shape
    axes = len(space)
    parts = maps.reshape(n, channels, *(k for side in space for k in (side // factor, factor)))
    order = (0, 1, *range(3, 3 + 2 * axes, 2), *range(2, 2 + 2 * axes, 2))
    inner = channels * factor**axes
    return parts.permute(order).reshape(n, inner, *(side // factor for side in space))


def unfolded(maps: Tensor, factor: int) -> Tensor:
    """The way back from ``folded``."""
    if maps.ndim == 4:
        return F.pixel_shuffle(maps, factor)
    n, inner, *space = maps.shape
    axes = len(space)
    parts = maps.reshape(n, inner // factor**axes, *[factor] * axes, *space)
    order = (0, 1, *(k for axis in range(axes) for k in (2 + axes + axis, 2 + axis)))
    return parts.permute(order).reshape(n, -1, *(side * factor for side in space))


def in_words(size: tuple[int, ...]) -> str:
    """A size of space as people write it.

    >>> in_words((28, 28, 28)), in_words((1000,))
    ('28×28×28', '1000')
    """
    return "×".join(str(side) for side in size)
