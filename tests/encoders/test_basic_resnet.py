"""ResNet-10 and ResNet-18: weights that the literature states, shapes, and blocks written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.encoders.basic_resnet import BasicBlock, EverySecond
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError

COLOUR = InputSpec(3, (64, 64))
NARROW = (2, 3, 4, 5)


def resnet(name: str, spec: InputSpec = COLOUR, **options: Any) -> AbstractEncoder:
    return build_encoder(EncoderConfig(name=name, options=options), spec, norm="running").eval()


def weights(encoder: AbstractEncoder) -> int:
    return sum(p.numel() for p in encoder.parameters())


def test_resnet18_has_as_many_weights_as_the_published_one_without_its_classifier() -> None:
    assert weights(resnet("resnet18", stem="large")) == 11_689_512 - 513 * 1000


def test_a_small_stem_has_a_smaller_kernel() -> None:
    large, small = weights(resnet("resnet18", stem="large")), weights(resnet("resnet18"))
    assert large - small == (7 * 7 - 3 * 3) * 3 * 64


def test_resnet10_has_as_many_weights_as_arithmetic_says() -> None:
    def block(inner: int, outer: int) -> int:
        shortcut = 0 if inner == outer else inner * outer + 2 * outer
        return 9 * inner * outer + 9 * outer * outer + 2 * 2 * outer + shortcut

    stages = block(64, 64) + block(64, 128) + block(128, 256) + block(256, 512)
    assert weights(resnet("resnet10")) == 9 * 3 * 64 + 2 * 64 + stages


@pytest.mark.parametrize("name", ["resnet10", "resnet18"])
@pytest.mark.parametrize(("stem", "sides"), [("small", (64, 32, 16, 8)), ("large", (16, 8, 4, 2))])
@torch.no_grad()
def test_stages_and_embeddings(name: str, stem: str, sides: tuple[int, ...]) -> None:
    encoder = resnet(name, stem=stem, widths=NARROW)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    stages = encoder.stages(images)
    wanted = [(2, width, side, side) for width, side in zip(NARROW, sides, strict=True)]
    assert [tuple(stage.shape) for stage in stages] == wanted
    assert encoder.embedding_size == 5
    torch.testing.assert_close(encoder(images), stages[-1].mean((2, 3)))


@pytest.mark.parametrize("name", ["conv4", "resnet10", "resnet12"])
@pytest.mark.parametrize("size", [(16, 16), (17, 33)])
@pytest.mark.parametrize("embed", ["flatten", "mean", "stages"])
@torch.no_grad()
def test_what_is_embedded_may_be_chosen(name: str, size: tuple[int, int], embed: str) -> None:
    narrow = {"width": 2} if name == "conv4" else {"widths": NARROW}
    encoder = resnet(name, InputSpec(1, size), embed=embed, **narrow)
    images = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0))
    maps = encoder.stages(images)
    means = [stage.mean((2, 3)) for stage in maps]
    wanted = {"flatten": maps[-1].flatten(1), "mean": means[-1], "stages": torch.cat(means, 1)}
    found = encoder(images)
    torch.testing.assert_close(found, wanted[embed])
    assert found.shape[1] == encoder.embedding_size


@pytest.mark.parametrize(("inner", "stride"), [(3, 1), (3, 2), (5, 1)])
@torch.no_grad()
def test_a_block_is_two_convolutions_and_a_shortcut(inner: int, stride: int) -> None:
    block = BasicBlock(inner, 5, "none", stride).double()
    images = torch.randn(2, inner, 7, 7, dtype=torch.float64)
    first, second = block.body[0], block.body[3]
    inside = F.relu(F.conv2d(images, first.weight, first.bias, stride=stride, padding=1))
    wanted = F.conv2d(inside, second.weight, second.bias, padding=1)
    if (inner, stride) == (5, 1):
        wanted += images
    else:
        wanted += F.conv2d(images, block.shortcut[0].weight, block.shortcut[0].bias, stride=stride)
    torch.testing.assert_close(block(images), wanted.clamp(min=0))


def test_options_are_validated() -> None:
    with pytest.raises(SettingsError, match="encoder resnet10: widths"):
        resnet("resnet10", widths=(1, 2, 3))


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_second_is_a_stride_of_two(size: int, layout: torch.memory_format) -> None:
    """As torch's own, forwards; torch's derivative may end the process, so ours is by hand."""
    layer = EverySecond(3, 4, 1, stride=2, bias=False)
    images = torch.randn(2, 3, size, size).to(memory_format=layout).requires_grad_()
    made = layer(images)
    torch.testing.assert_close(made, F.conv2d(images, layer.weight, stride=2))
    (slopes,) = torch.autograd.grad(made.sum(), images)
    wanted = torch.zeros_like(slopes)
    wanted[..., ::2, ::2] = layer.weight.sum(0)
    torch.testing.assert_close(slopes, wanted)
