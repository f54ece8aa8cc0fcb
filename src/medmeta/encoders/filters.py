"""Filters that need no training: what a pixel and its neighbourhood look like, for masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.encoders._dense import DenseEncoder
from medmeta.encoders._interface import EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.settings import Settings


class FiltersOptions(Settings):
    """``place``: where in the picture a pixel lies is a feature too."""

    place: bool = True


class Filters(DenseEncoder):
    """Grey levels at five scales, edges, ridges and roughness at three, colour, and place.

    The set of interactive pixel classifiers (ilastik, Berg et al. 2019): Gaussians, the gradient's
    length and the Hessian's eigenvalues of the grey picture, local deviations, and of colours their
    difference from grey. Large scales are computed on a shrunk picture.
    """

    def __init__(self, options: FiltersOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        self.place = options.place
        self.dense_size = 2 * input_spec.channels + 18 + (5 if options.place else 0)

    def dense(self, inputs: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, dense_size, H, W)``."""
        grey = inputs.mean(1, keepdim=True)
        found = [inputs, _blurred(inputs - grey, 2)]
        scaled = [_blurred(grey, 1), _blurred(grey, 2)]
        for level in scaled:
            found += [level, *_slopes(level)]
        small = _shrunk(scaled[1], 4)
        four, eight = _blurred(small, 1), _blurred(small, 2)
        coarse = [four, *_slopes(four), eight, _blurred(small, 4)]
        rough = (_blurred((grey - scaled[0]).square(), 2) + 1e-8).sqrt()
        far = (_blurred(_shrunk((grey - scaled[1]).square(), 4), 1) + 1e-8).sqrt()
        size = grey.shape[-2:]
        wide = torch.cat([*coarse, far], dim=1)
        found += [rough, F.interpolate(wide, size=size, mode="bilinear", align_corners=False)]
        found += [grey, (grey - scaled[1])]
        if self.place:
            found.append(_places(inputs))
        return torch.cat(found, dim=1)


def _shrunk(images: Tensor, factor: int) -> Tensor:
    height, width = images.shape[-2:]
    return F.adaptive_avg_pool2d(images, (max(1, height // factor), max(1, width // factor)))


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """By a Gaussian cut off at three deviations; beyond the edge lies what is at the edge."""
    channels, reach = images.shape[1], round(3 * sigma)
    at = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-at.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(channels, 1, -1)
    for axis, pad in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        shaped = kernel[..., None] if axis == 2 else kernel[..., None, :]
        images = F.conv2d(F.pad(images, pad, mode="replicate"), shaped, groups=channels)
    return images


def _slopes(images: Tensor) -> list[Tensor]:
    """The gradient's length, and the larger and the smaller eigenvalue of the Hessian."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    middle = padded[..., 1:-1, 1:-1]
    left, right = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    above, below = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    dx, dy = (right - left) / 2, (below - above) / 2
    xx, yy = right - 2 * middle + left, below - 2 * middle + above
    corners = padded[..., 2:, 2:] - padded[..., 2:, :-2] - padded[..., :-2, 2:]
    xy = (corners + padded[..., :-2, :-2]) / 4
    mean, half = (xx + yy) / 2, (((xx - yy) / 2).square() + xy.square() + 1e-12).sqrt()
    return [(dx.square() + dy.square() + 1e-12).sqrt(), mean + half, mean - half]


def _places(images: Tensor) -> Tensor:
    """``(N, 5, H, W)``: the place ``(y, x)`` in -1 to 1, its squares and its product."""
    n, _, height, width = images.shape
    y = torch.linspace(-1, 1, height, dtype=images.dtype, device=images.device)
    x = torch.linspace(-1, 1, width, dtype=images.dtype, device=images.device)
    y, x = y[:, None].expand(height, width), x.expand(height, width)
    return torch.stack([y, x, y * y, x * x, y * x]).expand(n, 5, height, width)


SPEC = EncoderSpec(
    "filters", "edges, ridges, grey levels and place of every pixel, for masks", FiltersOptions,
    Filters,
)  # fmt: skip
