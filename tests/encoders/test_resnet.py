"""ResNet-12: the number of weights that the papers state, and its shapes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError

COLOUR = InputSpec(3, (84, 84))


def test_resnet12_has_as_many_weights_as_arithmetic_says() -> None:
    """12 424 320 with the widths of MetaOptNet, without a classifier."""

    def block(inner: int, outer: int) -> int:
        convolutions = 9 * inner * outer + 2 * 9 * outer * outer + inner * outer
        return convolutions + 4 * 2 * outer  # a scale and a shift after each of the four

    wanted = sum(block(inner, outer) for inner, outer in pairwise((3, 64, 160, 320, 640)))
    encoder = build_encoder(EncoderConfig(name="resnet12"), COLOUR, norm="running")
    assert sum(p.numel() for p in encoder.parameters()) == wanted == 12_424_320
    assert encoder.embedding_size == 640


def test_stages_and_embedding() -> None:
    config = EncoderConfig(name="resnet12", options={"widths": (2, 3, 4, 5)})
    encoder = build_encoder(config, COLOUR, norm="group").eval()
    images = torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(0))
    shapes = [tuple(stage.shape[1:]) for stage in encoder.stages(images)]
    assert shapes == [(2, 42, 42), (3, 21, 21), (4, 10, 10), (5, 5, 5)]
    assert encoder.pooled_stages(images).shape == (2, 14)
    torch.testing.assert_close(encoder(images), encoder.pooled_stages(images)[:, 9:])


def test_dropout_acts_in_training_only() -> None:
    config = EncoderConfig(name="resnet12", options={"widths": (4, 4, 4, 4), "dropout": 0.5})
    encoder = build_encoder(config, InputSpec(1, (16, 16)), norm="group")
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert not torch.equal(encoder.train()(images), encoder(images))
    assert torch.equal(encoder.eval()(images), encoder(images))


def test_too_small_images_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"resnet12 .*15×40 is too small"):
        build_encoder(EncoderConfig(name="resnet12"), InputSpec(1, (15, 40)), norm="group")


@pytest.mark.parametrize("options", [{"widths": (1, 2, 3)}, {"dropout": 1.0}, {"widths": (0,) * 4}])
def test_options_are_validated(options: dict[str, object]) -> None:
    config = EncoderConfig(name="resnet12", options=options)
    with pytest.raises(SettingsError, match=f"encoder resnet12: {next(iter(options))}"):
        build_encoder(config, COLOUR, norm="running")
