"""Conv-4, the four-block network of the few-shot papers."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import nn

from medmeta.encoders._blocks import BlockEncoder, Embed
from medmeta.encoders._dimensions import convolution_of, in_words, max_pool
from medmeta.encoders._interface import SPATIAL, EncoderSpec, Norm
from medmeta.encoders._norm import norm_layer
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.settings import Settings

DEPTH = 4
TIMES = ("once", "twice", "three times", "four times")


class Conv4Options(Settings):
    """Options of Conv-4.

    ``downsample``: max-pooling by 2 after each block (Vinyals 2016, Snell 2017), or convolutions
    of stride 2 (MAML on Omniglot). ``pools``: how many blocks halve the image so, the first ones;
    Relation Networks (Sung 2018) take 2, for a map of many positions. ``embed``: the last feature
    map flattened, its mean, or the means of the maps after every block.
    """

    width: int = Field(64, ge=1, le=1024)
    downsample: Literal["pool", "stride"] = "pool"
    pools: int = Field(DEPTH, ge=0, le=DEPTH)
    embed: Embed = "flatten"


class Conv4(BlockEncoder):
    """Four blocks of convolution (3 wide), normalisation, ReLU and halving.

    Takes ``(N, C, *space)`` with one to three axes of space; at 28×28 with pooling the embedding
    is ``width`` numbers, at 84×84 ``25 * width``. Vinyals et al. 2016, section 4.1; Finn et al.
    2017, section 5.1; for signals and volumes with kernels of as many axes.

    >>> import torch
    >>> Conv4(Conv4Options(), InputSpec(1, (28, 28)), "running")(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 64])
    """

    def __init__(self, options: Conv4Options, input_spec: InputSpec, norm: Norm) -> None:
        strided = options.downsample == "stride"
        channels = [input_spec.channels] + [options.width] * DEPTH
        size, dimensions = input_spec.size, len(input_spec.size)
        for _ in range(options.pools):
            size = tuple((side + 1) // 2 if strided else side // 2 for side in size)
        if min(size) < 1:
            times, least = TIMES[options.pools - 1], (2**options.pools,) * dimensions
            raise SettingsError(
                f"conv4 halves the {input_spec.kind} {times}, so {in_words(input_spec.size)} is "
                f"too small: use {input_spec.kind}s of at least {in_words(least)}."
            )
        blocks = [
            _block(inner, outer, norm, dimensions, strided=strided, halves=place < options.pools)
            for place, (inner, outer) in enumerate(pairwise(channels))
        ]
        super().__init__(blocks, channels[1:], size, options.embed)


def _block(
    inner: int, outer: int, norm: Norm, dimensions: int, *, strided: bool, halves: bool
) -> nn.Sequential:
    stride = 2 if strided and halves else 1
    convolution = convolution_of(dimensions)(
        inner, outer, 3, stride=stride, padding=1, bias=norm == "none"
    )
    normalised = norm_layer(norm, outer, dimensions)
    if strided or not halves:
        return nn.Sequential(convolution, normalised, nn.ReLU())
    # The largest of four is positive where one is: pooled first, ReLU has a quarter of the work.
    return nn.Sequential(convolution, normalised, max_pool(dimensions, 2), nn.ReLU())


SPEC = EncoderSpec(
    "conv4", "four convolution blocks (Vinyals 2016)", Conv4Options, Conv4, takes=SPATIAL
)
