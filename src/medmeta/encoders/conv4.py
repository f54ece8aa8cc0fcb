"""Conv-4, the four-block network of the few-shot papers."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from medmeta.encoders._interface import AbstractEncoder, EncoderSpec, Norm, after_each
from medmeta.encoders._layout import channels_innermost
from medmeta.encoders._norm import norm_2d
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.settings import Settings

DEPTH = 4


class Conv4Options(Settings):
    """Options of Conv-4.

    ``downsample``: 2×2 max-pooling after each block (Vinyals 2016, Snell 2017), or convolutions
    of stride 2 (MAML on Omniglot). ``embed``: the last feature map flattened, or its mean.
    """

    width: int = Field(64, ge=1, le=1024)
    downsample: Literal["pool", "stride"] = "pool"
    embed: Literal["flatten", "mean"] = "flatten"


class Conv4(AbstractEncoder):
    """Four blocks of 3×3 convolution, normalisation, ReLU and halving.

    Takes ``(N, C, H, W)``; at 28×28 with pooling the embedding is ``width`` numbers, at 84×84
    ``25 * width``. Vinyals et al. 2016, section 4.1; Finn et al. 2017, section 5.1.

    >>> import torch
    >>> Conv4(Conv4Options(), InputSpec(1, (28, 28)), "running")(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 64])
    """

    def __init__(self, options: Conv4Options, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        strided = options.downsample == "stride"
        channels = [input_spec.channels] + [options.width] * DEPTH
        self.blocks = nn.ModuleList(
            _block(inner, outer, norm, strided=strided) for inner, outer in pairwise(channels)
        )
        self.embed = options.embed
        height, width = input_spec.size
        for _ in range(DEPTH):
            height = (height + 1) // 2 if strided else height // 2
            width = (width + 1) // 2 if strided else width // 2
        if min(height, width) < 1:
            raise SettingsError(
                f"conv4 halves the image four times, so {input_spec.size} is too small: "
                "use images of at least 16×16."
            )
        positions = height * width if options.embed == "flatten" else 1
        self.embedding_size = options.width * positions

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """Feature maps after each of the four blocks."""
        return after_each(self.blocks, channels_innermost(inputs))

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Flatten the last map, or take its mean over space."""
        return feature_map.flatten(1) if self.embed == "flatten" else feature_map.mean((2, 3))


def _block(inner: int, outer: int, norm: Norm, *, strided: bool) -> nn.Sequential:
    convolution = nn.Conv2d(
        inner, outer, 3, stride=2 if strided else 1, padding=1, bias=norm == "none"
    )
    if strided:
        return nn.Sequential(convolution, norm_2d(norm, outer), nn.ReLU())
    # The largest of four is positive where one is: pooled first, ReLU has a quarter of the work.
    return nn.Sequential(convolution, norm_2d(norm, outer), nn.MaxPool2d(2), nn.ReLU())


SPEC = EncoderSpec("conv4", "four convolution blocks (Vinyals 2016)", Conv4Options, Conv4)
