"""Filters that need no training: what a pixel and its neighbourhood look like, for masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.encoders._dense import DenseEncoder
from medmeta.encoders._dimensions import averaged_to, resized
from medmeta.encoders._interface import SPATIAL, EncoderSpec, Norm
from medmeta.encoders._slopes import slopes
from medmeta.episode import InputSpec
from medmeta.settings import Settings

_CONVOLVED = (F.conv1d, F.conv2d, F.conv3d)


class FiltersOptions(Settings):
    """``place``: where in the picture a pixel lies is a feature too.

    None: of pictures and signals it is; of volumes not, for these are asked about in parts that
    may lie anywhere.
    """

    place: bool | None = None


class Filters(DenseEncoder):
    """Grey levels at five scales, edges, ridges and roughness at three, colour, and place.

    The set of interactive pixel classifiers (ilastik, Berg et al. 2019): Gaussians, the gradient's
    length and the Hessian's eigenvalues of the grey picture, local deviations, and of colours their
    difference from grey; of volumes in all three directions. Large scales are computed on a shrunk
    picture.
    """

    def __init__(self, options: FiltersOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        axes = len(input_spec.size)
        self.place = axes < 3 if options.place is None else options.place
        places = 2 * axes + axes * (axes - 1) // 2
        self.dense_size = 2 * input_spec.channels + 12 + 3 * axes + self.place * places

    def dense(self, inputs: Tensor) -> Tensor:
        """``(N, C, *space)`` to ``(N, dense_size, *space)``."""
        grey = inputs.mean(1, keepdim=True)
        found = [inputs, _blurred(inputs - grey, 2)]
        scaled = [_blurred(grey, 1), _blurred(grey, 2)]
        for level in scaled:
            found += [level, *slopes(level)]
        small = _shrunk(scaled[1], 4)
        four, eight = _blurred(small, 1), _blurred(small, 2)
        coarse = [four, *slopes(four), eight, _blurred(small, 4)]
        rough = (_blurred((grey - scaled[0]).square(), 2) + 1e-8).sqrt()
        far = (_blurred(_shrunk((grey - scaled[1]).square(), 4), 1) + 1e-8).sqrt()
        wide = torch.cat([*coarse, far], dim=1)
        found += [rough, resized(wide, tuple(grey.shape[2:]))]
        found += [grey, (grey - scaled[1])]
        if self.place:
            found.append(_places(inputs))
        return torch.cat(found, dim=1)


def _shrunk(images: Tensor, factor: int) -> Tensor:
    return averaged_to(images, tuple(max(1, side // factor) for side in images.shape[2:]))


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """By a Gaussian cut off at three deviations; beyond the edge lies what is at the edge."""
    channels, reach, axes = images.shape[1], round(3 * sigma), images.ndim - 2
    at = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-at.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(channels, 1, -1)
    for axis in range(axes):
        pad = [0] * (2 * axes)
        pad[2 * (axes - 1 - axis)] = pad[2 * (axes - 1 - axis) + 1] = reach
        shaped = kernel.reshape(channels, 1, *(-1 if k == axis else 1 for k in range(axes)))
        padded = F.pad(images, pad, mode="replicate")
        images = _CONVOLVED[axes - 1](padded, shaped, groups=channels)
    return images


def _places(images: Tensor) -> Tensor:
    """``(N, K, *space)``: the place in -1 to 1 along each axis, its squares and its products."""
    n, _, *space = images.shape
    lines = [torch.linspace(-1, 1, k, dtype=images.dtype, device=images.device) for k in space]
    at = list(torch.meshgrid(*lines, indexing="ij"))
    squares = [one * one for one in at]
    products = [at[i] * at[k] for i in range(len(at)) for k in range(i + 1, len(at))]
    return torch.stack([*at, *squares, *products]).expand(n, -1, *space)


SPEC = EncoderSpec(
    "filters", "edges, ridges, grey levels and place of every pixel, for masks", FiltersOptions,
    Filters, takes=SPATIAL,
)  # fmt: skip
