"""Networks of blocks one after the other: their feature maps, and what is embedded of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from torch import Tensor, nn

from medmeta.encoders._interface import AbstractEncoder
from medmeta.encoders._layout import channels_innermost

Embed = Literal["flatten", "mean", "stages"]
"""What is embedded: the last feature map flattened, its mean over space, or such means of the maps
after every block, joined (``stages``): what early blocks see says more of images unlike those that
the network was trained on."""


class BlockEncoder(AbstractEncoder):
    """Blocks one after the other, of which ``embed`` says what is embedded.

    ``channels`` after each block; ``size`` of the last feature map, of one to three axes.
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        channels: Sequence[int],
        size: tuple[int, ...],
        embed: Embed,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.embed = embed
        last = channels[-1]
        sizes = {"flatten": last * math.prod(size), "mean": last, "stages": sum(channels)}
        self.embedding_size = sizes[embed]

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """Feature maps after each of the blocks."""
        outputs, inputs = [], channels_innermost(inputs)
        for block in self.blocks:
            inputs = block(inputs)
            outputs.append(inputs)
        return outputs

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Flatten the last map, or take its mean over space."""
        return feature_map.flatten(1) if self.embed == "flatten" else feature_map.flatten(2).mean(2)

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed ``(N, C, *space)`` to ``(N, embedding_size)``."""
        return self.pooled_stages(inputs) if self.embed == "stages" else super().forward(inputs)
