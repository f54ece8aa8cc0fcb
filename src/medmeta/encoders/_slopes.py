"""How grey levels rise and bend around each pixel: first and second differences, turned away."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-12


def slopes(images: Tensor) -> list[Tensor]:
    """The gradient's length, and the Hessian's eigenvalues from the largest to the smallest.

    Of ``(N, 1, *space)``, by central differences; beyond the edge lies what is at the edge. They
    are the same however an image is turned by quarters.
    """
    axes = images.ndim - 2
    padded = F.pad(images, [1] * (2 * axes), mode="replicate")
    middle = _at(padded, {})
    first, second = [], []
    for axis in range(axes):
        before, after = _at(padded, {axis: -1}), _at(padded, {axis: 1})
        first.append((after - before) / 2)
        second.append(after - 2 * middle + before)
    length = sum((one.square() for one in first), torch.zeros_like(middle))
    crossed = {
        (a, b): (
            _at(padded, {a: 1, b: 1}) - _at(padded, {a: 1, b: -1}) - _at(padded, {a: -1, b: 1})
            + _at(padded, {a: -1, b: -1})
        ) / 4
        for a in range(axes) for b in range(a + 1, axes)
    }  # fmt: skip
    of = (_of_one, _of_two, _of_three)[axes - 1]
    return [(length + _TINY).sqrt(), *of(second, crossed)]


def _at(padded: Tensor, moved: dict[int, int]) -> Tensor:
    """The neighbour so many pixels along some axes, of every pixel within a margin of one."""
    sides = padded.shape[2:]
    where = tuple(
        slice(1 + moved.get(k, 0), side - 1 + moved.get(k, 0)) for k, side in enumerate(sides)
    )
    inside: Any = (..., *where)
    return padded[inside]


def _of_one(second: list[Tensor], crossed: dict[tuple[int, int], Tensor]) -> list[Tensor]:
    return second


def _of_two(second: list[Tensor], crossed: dict[tuple[int, int], Tensor]) -> list[Tensor]:
    yy, xx = second
    mean = (xx + yy) / 2
    half = (((xx - yy) / 2).square() + crossed[0, 1].square() + _TINY).sqrt()
    return [mean + half, mean - half]


def _of_three(second: list[Tensor], crossed: dict[tuple[int, int], Tensor]) -> list[Tensor]:
    """In closed form (Smith 1961): a cubic's three roots by one angle."""
    mean = (second[0] + second[1] + second[2]) / 3
    a, b, c = (one - mean for one in second)
    d, e, f = crossed[0, 1], crossed[0, 2], crossed[1, 2]
    squares = a * a + b * b + c * c + 2 * (d * d + e * e + f * f)
    size = (squares / 6 + _TINY).sqrt()
    determinant = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    # Within the bounds, where the angle has a gradient.
    angle = (determinant / (2 * size**3)).clamp(-1 + 1e-6, 1 - 1e-6).acos() / 3
    turns = (0.0, -2 * math.pi / 3, 2 * math.pi / 3)
    return [mean + 2 * size * torch.cos(angle + turn) for turn in turns]
