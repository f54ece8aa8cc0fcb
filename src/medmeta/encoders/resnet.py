"""ResNet-12, the residual network of the few-shot papers."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medmeta.encoders._blocks import BlockEncoder, Embed
from medmeta.encoders._dimensions import convolution_of, in_words, max_pool
from medmeta.encoders._interface import SPATIAL, EncoderSpec, Norm
from medmeta.encoders._norm import norm_layer
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.settings import Settings

Width = Annotated[int, Field(ge=1, le=4096)]


class ResNet12Options(Settings):
    """Options of ResNet-12: the channels of its four blocks, and dropout after each.

    ``embed``: the mean of the last feature map, the map flattened (as MetaOptNet does), or the
    means of the maps after every block.
    """

    widths: tuple[Width, Width, Width, Width] = (64, 160, 320, 640)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    embed: Embed = "mean"


class ResidualBlock(nn.Module):
    """Three 3×3 convolutions beside a 1×1 shortcut, leaky ReLU, 2×2 max-pooling.

    (Of as many axes as ``dimensions``.)
    """

    def __init__(
        self, inner: int, outer: int, norm: Norm, dropout: float, dimensions: int = 2
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inner, outer, 3, norm, dimensions),
            nn.LeakyReLU(0.1),
            *_convolution(outer, outer, 3, norm, dimensions),
            nn.LeakyReLU(0.1),
            *_convolution(outer, outer, 3, norm, dimensions),
        )
        self.shortcut = nn.Sequential(*_convolution(inner, outer, 1, norm, dimensions))
        self.after = nn.Sequential(nn.LeakyReLU(0.1), max_pool(dimensions, 2), nn.Dropout(dropout))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(N, inner, *space)`` to ``(N, outer, ...)``, each side halved and rounded down."""
        out: Tensor = self.after(self.body(inputs) + self.shortcut(inputs))
        return out


class ResNet12(BlockEncoder):
    """Four residual blocks and a mean over space: ``(N, C, *space)`` to ``(N, 640)``.

    Oreshkin et al. 2018 (TADAM), with the widths of Lee et al. 2019 (MetaOptNet); plain dropout
    in place of DropBlock.
    """

    def __init__(self, options: ResNet12Options, input_spec: InputSpec, norm: Norm) -> None:
        halved = 2 ** len(options.widths)
        size, kind = input_spec.size, input_spec.kind
        dimensions = len(size)
        if min(size) < halved:
            raise SettingsError(
                f"resnet12 halves the {kind} four times, so {in_words(size)} is too small: "
                f"use {kind}s of at least {in_words((halved,) * dimensions)}."
            )
        channels = (input_spec.channels, *options.widths)
        blocks = [
            ResidualBlock(inner, outer, norm, options.dropout, dimensions)
            for inner, outer in pairwise(channels)
        ]
        last = tuple(side // halved for side in size)
        super().__init__(blocks, options.widths, last, options.embed)


def _convolution(
    inner: int, outer: int, kernel: int, norm: Norm, dimensions: int
) -> list[nn.Module]:
    layer = convolution_of(dimensions)
    convolution = layer(inner, outer, kernel, padding=kernel // 2, bias=norm == "none")
    return [convolution, norm_layer(norm, outer, dimensions)]


SPEC = EncoderSpec(
    "resnet12",
    "twelve-layer residual network (Oreshkin 2018)",
    ResNet12Options,
    ResNet12,
    takes=SPATIAL,
)
