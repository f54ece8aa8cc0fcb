"""Encoders by name, and their options."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medmeta.encoders import (
    ENCODERS,
    EncoderConfig,
    build_encoder,
    keeps_running_statistics,
    uses_batch_statistics,
)
from medmeta.encoders._norm import BatchStatistics, norm_layer
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError, UnknownNameError

IMAGE = InputSpec(3, (16, 16))


def test_an_unknown_encoder_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no encoder called 'conv5'. Did you mean 'conv4'"):
        build_encoder(EncoderConfig(name="conv5"), IMAGE, norm="group")


@pytest.mark.parametrize(
    ("encoder", "wrong", "meant"),
    [("conv4", "widht", "width"), ("resnet12", "droput", "dropout"), ("pixels", "size", "side")],
)
def test_a_misspelt_option_is_named_with_the_nearest(encoder: str, wrong: str, meant: str) -> None:
    config = EncoderConfig(name=encoder, options={wrong: 8})
    with pytest.raises(
        SettingsError, match=rf"encoder {encoder}: .*{wrong} \(did you mean {meant}"
    ):
        build_encoder(config, IMAGE, norm="group")


def test_options_may_be_texts_as_the_command_line_gives_them() -> None:
    config = EncoderConfig(name="conv4", options={"width": "8"})
    assert build_encoder(config, IMAGE, norm="group").embedding_size == 8


@pytest.mark.parametrize("encoder", [n for n, s in ENCODERS.items() if "volume" not in s.takes])
def test_what_takes_no_volumes_refuses_them(encoder: str) -> None:
    with pytest.raises(SettingsError, match=rf"{encoder} takes \w+s, not a volume"):
        build_encoder(EncoderConfig(name=encoder), InputSpec(1, (16, 16, 16)), norm="group")


def test_the_configuration_s_own_normalisation_goes_before_the_learner_s() -> None:
    config = EncoderConfig(name="conv4", norm="group", options={"width": 8})
    assert not keeps_running_statistics(build_encoder(config, IMAGE, norm="running"))


@pytest.mark.parametrize(
    ("norm", "running", "batch"),
    [
        ("group", False, False),
        ("running", True, False),
        ("batch", False, True),
        ("none", False, False),
    ],
)
def test_what_statistics_a_network_uses_is_read_off_it(
    norm: str, running: bool, batch: bool
) -> None:
    network = nn.Sequential(nn.Conv2d(1, 6, 3), norm_layer(norm, 6))  # type: ignore[arg-type]
    assert keeps_running_statistics(network) == running
    assert uses_batch_statistics(network) == batch


def test_batch_statistics_written_out_are_those_of_torch() -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 5, 4, 4, dtype=torch.float64) * 3 + 100
    own = BatchStatistics(5).double()
    other = nn.BatchNorm2d(5, track_running_stats=False).double()
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.normal_()
    other.load_state_dict(own.state_dict())  # the same names and shapes
    torch.testing.assert_close(own(images), other(images))
    torch.testing.assert_close(own.eval()(images), other.eval()(images))


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (12, 4), (7, 1)])
def test_groups_divide_the_channels(channels: int, groups: int) -> None:
    layer = norm_layer("group", channels)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups
