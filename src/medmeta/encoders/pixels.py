"""No encoder at all: the pixels themselves, the baseline that every network should beat."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medmeta.encoders._interface import AbstractEncoder, EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.settings import Settings


class PixelsOptions(Settings):
    """Options of raw pixels: the longest side they are shrunk to (0: as they are)."""

    side: int = Field(0, ge=0, le=512)


class Pixels(AbstractEncoder):
    """Flattened pixels ``(N, C * H * W)``; nothing in it can be trained."""

    def __init__(self, options: PixelsOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        shrunk = 0 < options.side < max(input_spec.size)
        self.side = options.side if shrunk else 0
        ratio = self.side / max(input_spec.size) if shrunk else 1.0
        height, width = input_spec.size
        self.size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
        self.embedding_size = input_spec.channels * self.size[0] * self.size[1]

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """The image itself, shrunk where asked."""
        return [F.adaptive_avg_pool2d(inputs, self.size) if self.side else inputs]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Flatten."""
        return feature_map.flatten(1)


SPEC = EncoderSpec("pixels", "raw pixels, nothing learned", PixelsOptions, Pixels)
