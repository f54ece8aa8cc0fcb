"""ResNet-12, the residual network of the few-shot papers."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medmeta.encoders._interface import AbstractEncoder, EncoderSpec, Norm, after_each
from medmeta.encoders._layout import channels_innermost
from medmeta.encoders._norm import norm_2d
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.settings import Settings

Width = Annotated[int, Field(ge=1, le=4096)]


class ResNet12Options(Settings):
    """Options of ResNet-12: the channels of its four blocks, and dropout after each."""

    widths: tuple[Width, Width, Width, Width] = (64, 160, 320, 640)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)


class ResidualBlock(nn.Module):
    """Three 3×3 convolutions beside a 1×1 shortcut, leaky ReLU, 2×2 max-pooling."""

    def __init__(self, inner: int, outer: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inner, outer, 3, norm),
            nn.LeakyReLU(0.1),
            *_convolution(outer, outer, 3, norm),
            nn.LeakyReLU(0.1),
            *_convolution(outer, outer, 3, norm),
        )
        self.shortcut = nn.Sequential(*_convolution(inner, outer, 1, norm))
        self.after = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Dropout(dropout))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(N, inner, H, W)`` to ``(N, outer, H // 2, W // 2)``."""
        out: Tensor = self.after(self.body(inputs) + self.shortcut(inputs))
        return out


class ResNet12(AbstractEncoder):
    """Four residual blocks and a mean over space: ``(N, C, H, W)`` to ``(N, 640)``.

    Oreshkin et al. 2018 (TADAM), with the widths of Lee et al. 2019 (MetaOptNet); plain dropout
    in place of DropBlock.
    """

    def __init__(self, options: ResNet12Options, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        if min(input_spec.size) < 2 ** len(options.widths):
            raise SettingsError(
                f"resnet12 halves the image four times, so {input_spec.size} is too small: "
                "use images of at least 16×16."
            )
        channels = (input_spec.channels, *options.widths)
        self.blocks = nn.ModuleList(
            ResidualBlock(inner, outer, norm, options.dropout)
            for inner, outer in pairwise(channels)
        )
        self.embedding_size = options.widths[-1]

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """Feature maps after each of the four blocks."""
        return after_each(self.blocks, channels_innermost(inputs))

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Mean of the last map over space."""
        return feature_map.mean((2, 3))


def _convolution(inner: int, outer: int, kernel: int, norm: Norm) -> list[nn.Module]:
    convolution = nn.Conv2d(inner, outer, kernel, padding=kernel // 2, bias=norm == "none")
    return [convolution, norm_2d(norm, outer)]


SPEC = EncoderSpec(
    "resnet12", "twelve-layer residual network (Oreshkin 2018)", ResNet12Options, ResNet12
)
