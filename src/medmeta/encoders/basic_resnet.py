"""ResNet-10 and ResNet-18: four stages of basic residual blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.encoders._blocks import BlockEncoder, Embed
from medmeta.encoders._dimensions import convolution_of, max_pool
from medmeta.encoders._interface import SPATIAL, EncoderSpec, Norm
from medmeta.encoders._norm import norm_layer
from medmeta.episode import InputSpec
from medmeta.settings import Settings

Width = Annotated[int, Field(ge=1, le=4096)]
STEMS = {"small": (3, 1), "medium": (5, 2), "large": (7, 2)}
"""Kernel and stride of the first convolution."""
HALVINGS = {"small": 3, "medium": 4, "large": 5}
"""How often the whole network halves an image."""


class BasicResNetOptions(Settings):
    """Options of ResNet-10 and ResNet-18.

    ``widths``: channels of the four stages. ``stem``: ``small`` begins with one 3×3 convolution
    that keeps the size (He 2016, section 4.2), for images of up to about 84×84; ``medium`` with a
    5×5 convolution that halves it, a quarter of the time; ``large`` with a 7×7 convolution and
    pooling that quarter it (section 4.1), for 128×128 and more. ``embed``: the mean of the last
    feature map, the map flattened, or the means after every stage.
    """

    widths: tuple[Width, Width, Width, Width] = (64, 128, 256, 512)
    stem: Literal["small", "medium", "large"] = "small"
    embed: Embed = "mean"


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut, which is 1×1 where the shape changes.

    He et al. 2016, figure 2 and option B; of as many axes as ``dimensions``.
    """

    def __init__(
        self, inner: int, outer: int, norm: Norm, stride: int, dimensions: int = 2
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inner, outer, 3, norm, stride, dimensions),
            nn.ReLU(),
            *_convolution(outer, outer, 3, norm, 1, dimensions),
        )
        same = stride == 1 and inner == outer
        self.shortcut = nn.Sequential(
            *([] if same else _convolution(inner, outer, 1, norm, stride, dimensions))
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """``(N, inner, *space)`` to ``(N, outer, ...)``, each side over the stride, rounded up."""
        return F.relu(self.body(inputs) + self.shortcut(inputs))


class BasicResNet(BlockEncoder):
    """Four stages of ``depth`` basic blocks, of which all but the first halve the image.

    ``(N, C, *space)`` to ``(N, 512)``. He et al. 2016; ``depth`` 1 is ResNet-10 (Chen et al. 2019),
    2 is ResNet-18.
    """

    def __init__(
        self, options: BasicResNetOptions, input_spec: InputSpec, norm: Norm, *, depth: int
    ) -> None:
        first, large = options.widths[0], options.stem == "large"
        n = len(input_spec.size)
        kernel, stride = STEMS[options.stem]
        stem = _convolution(input_spec.channels, first, kernel, norm, stride, n)
        stem += [nn.ReLU(), max_pool(n, 3, 2, 1)] if large else [nn.ReLU()]
        stages = [nn.Sequential(*stem, *_stage(first, first, norm, 1, depth, n))]
        stages += [
            nn.Sequential(*_stage(inner, outer, norm, 2, depth, n))
            for inner, outer in pairwise(options.widths)
        ]
        size = input_spec.size
        for _ in range(HALVINGS[options.stem]):
            size = tuple((side + 1) // 2 for side in size)
        super().__init__(stages, options.widths, size, options.embed)


def _stage(
    inner: int, outer: int, norm: Norm, stride: int, depth: int, dimensions: int
) -> list[nn.Module]:
    rest = [BasicBlock(outer, outer, norm, 1, dimensions) for _ in range(depth - 1)]
    return [BasicBlock(inner, outer, norm, stride, dimensions), *rest]


def _convolution(
    inner: int, outer: int, kernel: int, norm: Norm, stride: int, dimensions: int
) -> list[nn.Module]:
    written_out = kernel == 1 and stride == 2 and dimensions == 2
    layer = EverySecond if written_out else convolution_of(dimensions)
    convolution = layer(
        inner, outer, kernel, stride=stride, padding=kernel // 2, bias=norm == "none"
    )
    return [convolution, norm_layer(norm, outer, dimensions)]


class EverySecond(nn.Conv2d):
    """A 1×1 convolution of every second row and column: one of stride 2, written out.

    The derivative of torch 2.13's own, for images laid out with channels innermost, writes beyond
    its memory on processors without AVX-512, and the process is gone.

    >>> import torch
    >>> EverySecond(3, 4, 1, stride=2)(torch.zeros(1, 3, 5, 5)).shape
    torch.Size([1, 4, 3, 3])
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', ⌈H / 2⌉, ⌈W / 2⌉)``."""
        return F.conv2d(inputs[..., ::2, ::2], self.weight, self.bias)


def _of_depth(depth: int) -> Callable[[BasicResNetOptions, InputSpec, Norm], BasicResNet]:
    return partial(BasicResNet, depth=depth)


SPECS = (
    EncoderSpec(
        "resnet10",
        "ten-layer residual network (Chen 2019)",
        BasicResNetOptions,
        _of_depth(1),
        takes=SPATIAL,
    ),
    EncoderSpec(
        "resnet18",
        "eighteen-layer residual network (He 2016)",
        BasicResNetOptions,
        _of_depth(2),
        takes=SPATIAL,
    ),
)
