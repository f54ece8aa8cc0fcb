"""Encoders over one, two and three axes of space."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.encoders._norm import BatchStatistics, norm_layer
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError

SPECS = (InputSpec(2, (64,)), InputSpec(2, (32, 32)), InputSpec(2, (16, 32, 32)))
TORCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
@pytest.mark.parametrize("name", ["conv4", "resnet12", "resnet10", "resnet18", "pixels"])
def test_the_embedding_has_the_size_it_says(name: str, spec: InputSpec) -> None:
    options = {"width": 4} if name == "conv4" else {"widths": (4, 4, 8, 8)}
    config = EncoderConfig(name=name, options={} if name == "pixels" else options)
    encoder = build_encoder(config, spec, norm="group").eval()
    inputs = torch.randn(3, *spec.shape)
    assert encoder(inputs).shape == (3, encoder.embedding_size)
    assert len(encoder.stages(inputs)[-1]) == 3


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_batch_statistics_are_those_of_torch(dimensions: int) -> None:
    inputs = torch.randn(3, 5, *[4] * dimensions, dtype=torch.float64)
    theirs = TORCH[dimensions - 1](5, track_running_stats=False).double()
    torch.testing.assert_close(BatchStatistics(5).double()(inputs), theirs(inputs))
    assert isinstance(norm_layer("running", 5, dimensions), TORCH[dimensions - 1])


def test_a_convolution_over_space_sees_all_its_axes() -> None:
    """Weights that look along one axis make of a volume what they make of each of its lines."""
    config = EncoderConfig(name="conv4", norm="none", options={"width": 3, "pools": 0})
    line = build_encoder(config, InputSpec(1, (16,)), norm="none")
    volume = build_encoder(config, InputSpec(1, (4, 4, 16)), norm="none")
    with torch.no_grad():
        for thin, thick in zip(line.parameters(), volume.parameters(), strict=True):
            if thin.ndim == 1:
                thick.copy_(thin)
            else:
                thick.zero_()
                thick[:, :, 1, 1] = thin
    inputs = torch.randn(2, 1, 4, 4, 16)
    found = volume.stages(inputs)[-1].permute(0, 2, 3, 1, 4).reshape(-1, 3, 16)
    expected = line.stages(inputs.permute(0, 2, 3, 1, 4).reshape(-1, 1, 16))[-1]
    torch.testing.assert_close(found, expected)


def test_what_is_too_small_is_refused_in_its_own_words() -> None:
    with pytest.raises(SettingsError, match="volume four times, so 8×16×16 is too small"):
        build_encoder(EncoderConfig(name="conv4"), InputSpec(1, (8, 16, 16)), norm="group")
    with pytest.raises(SettingsError, match=r"use signals of at least 16\."):
        build_encoder(EncoderConfig(name="resnet12"), InputSpec(1, (1,)), norm="group")


def test_an_encoder_of_images_says_who_takes_volumes() -> None:
    with pytest.raises(SettingsError, match=r"hog_colour takes images, not a volume; conv4, .*do"):
        build_encoder(EncoderConfig(name="hog_colour"), InputSpec(1, (16, 16, 16)), norm="none")
