"""No encoder at all: the pixels themselves, the baseline that every network should beat."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medmeta.encoders._interface import SPATIAL, AbstractEncoder, EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.settings import Settings


class PixelsOptions(Settings):
    """Options of raw pixels: the longest side they are shrunk to (0: as they are)."""

    side: int = Field(0, ge=0, le=512)


class Pixels(AbstractEncoder):
    """Flattened pixels ``(N, C * H * W)``, or voxels or samples; nothing in it can be trained."""

    def __init__(self, options: PixelsOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        longest = max(input_spec.size, default=1)
        shrunk = 0 < options.side < longest
        self.side = options.side if shrunk else 0
        ratio = self.side / longest if shrunk else 1.0
        self.size = tuple(max(1, round(side * ratio)) for side in input_spec.size)
        self.embedding_size = input_spec.channels * math.prod(self.size)

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """The image itself, shrunk where asked."""
        if not self.side:
            return [inputs]
        shrink: tuple[Callable[..., Tensor], ...]
        shrink = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
        return [shrink[len(self.size) - 1](inputs, self.size)]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Flatten."""
        return feature_map.flatten(1)


SPEC = EncoderSpec(
    "pixels",
    "raw pixels, nothing learned",
    PixelsOptions,
    Pixels,
    takes=SPATIAL | {"vector"},
)
