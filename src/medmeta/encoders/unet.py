"""A small U-Net: features of every pixel that also know what lies far around it.

Written out rather than taken from MONAI, whose import takes seconds and whose layers change weights
in place, which inner loops over functional weights do not bear.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.encoders._dense import DenseEncoder
from medmeta.encoders._dimensions import convolution_of, folded, max_pool, unfolded
from medmeta.encoders._interface import SPATIAL, EncoderSpec, Norm
from medmeta.encoders._norm import norm_layer
from medmeta.episode import InputSpec
from medmeta.settings import Settings


class UNetOptions(Settings):
    """``width`` features at full size, twice as many at each of the ``levels`` below.

    ``fold``: each square of so many pixels along an edge (of a volume, each cube) is one place with
    more channels, on which the network works, and is unfolded again at the end (1: none). 2 takes
    about a quarter of the time, of a volume an eighth, and loses no pixel.
    """

    width: int = Field(16, ge=4, le=256)
    levels: int = Field(4, ge=1, le=6)
    fold: int = Field(1, ge=1, le=4)


class UNet(DenseEncoder):
    """Down by maxima of 2 along each axis, up by nearest pixels, with a skip at each level.

    Ronneberger, Fischer and Brox 2015, of volumes Çiçek et al. 2016 (3D U-Net), with padded
    convolutions and a normalisation after each, so that any size is taken and given back. Folding
    is that of Shi et al. 2016 (sub-pixel convolution), at both ends.
    """

    def __init__(self, options: UNetOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        widths = [options.width * 2**level for level in range(options.levels + 1)]
        self.fold = options.fold
        axes = len(input_spec.size)
        before = [input_spec.channels * options.fold**axes, *widths[:-1]]
        self.dense_size = options.width
        self.halve = max_pool(axes, 2)
        self.down = nn.ModuleList(
            _double(come, gone, norm, axes) for come, gone in zip(before, widths, strict=True)
        )
        self.up = nn.ModuleList(
            _double(above + below, above, norm, axes) for above, below in pairwise(widths)
        )
        wide, single = options.width * options.fold**axes, convolution_of(axes)
        self.unfold = single(options.width, wide, 1) if options.fold > 1 else nn.Identity()

    def dense(self, inputs: Tensor) -> Tensor:
        """``(N, C, *space)`` to ``(N, width, *space)``."""
        if self.fold == 1:
            return self._network(inputs)
        space = inputs.shape[2:]
        margin = [k for side in reversed(space) for k in (0, -side % self.fold)]
        small = folded(F.pad(inputs, margin, mode="replicate"), self.fold)
        found = unfolded(self.unfold(self._network(small)), self.fold)
        whole: Any = (..., *(slice(side) for side in space))
        return found[whole]

    def _network(self, inputs: Tensor) -> Tensor:
        skips = [self.down[0](inputs)]
        for block in self.down[1:]:
            small = min(skips[-1].shape[2:]) < 2
            skips.append(block(skips[-1] if small else self.halve(skips[-1])))
        found: Tensor = skips.pop()
        for block in reversed(self.up):
            skip = skips.pop()
            found = F.interpolate(found, size=skip.shape[2:], mode="nearest")
            found = block(torch.cat([skip, found], dim=1))
        return found


def _double(come: int, gone: int, norm: Norm, axes: int) -> nn.Sequential:
    convolution = convolution_of(axes)
    return nn.Sequential(
        convolution(come, gone, 3, padding=1, bias=norm == "none"),
        norm_layer(norm, gone, axes),
        nn.LeakyReLU(0.1),
        convolution(gone, gone, 3, padding=1, bias=norm == "none"),
        norm_layer(norm, gone, axes),
        nn.LeakyReLU(0.1),
    )


SPEC = EncoderSpec(
    "unet", "features of every pixel by a U-Net, for masks", UNetOptions, UNet, takes=SPATIAL
)
