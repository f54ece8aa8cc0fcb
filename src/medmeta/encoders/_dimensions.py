"""Layers for one, two or three axes of space: signals, images, volumes."""

from __future__ import annotations

from torch import nn

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


def in_words(size: tuple[int, ...]) -> str:
    """A size of space as people write it.

    >>> in_words((28, 28, 28)), in_words((1000,))
    ('28×28×28', '1000')
    """
    return "×".join(str(side) for side in size)
