"""Convolutions get images with channels innermost, whoever calls the encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medmeta.encoders import EncoderConfig, build_encoder, channels_innermost
from medmeta.episode import InputSpec
from medmeta.tasks import differentiated_twice, map_tasks


@pytest.mark.parametrize("channels", [1, 3])
def test_values_stay_and_strides_change(channels: int) -> None:
    images = torch.rand(2, channels, 5, 7)
    moved = channels_innermost(images)
    assert torch.equal(moved, images)
    assert moved.stride() == (35 * channels, 1, 7 * channels, channels)
    assert channels_innermost(moved).data_ptr() == moved.data_ptr()


@pytest.mark.parametrize("name", ["conv4", "resnet12"])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_that_are_called_directly_get_them_too(name: str, channels: int) -> None:
    seen: list[tuple[int, ...]] = []

    def note(_module: nn.Module, inputs: tuple[Any, ...], _output: Tensor) -> None:
        seen.append(inputs[0].stride())

    encoder = build_encoder(EncoderConfig(name=name), InputSpec(channels, (16, 16)), norm="group")
    first = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_hook(note)
    encoder(torch.rand(2, channels, 16, 16))
    assert seen[0] == (256 * channels, 1, 16 * channels, channels)


def test_batched_tasks_keep_their_layout() -> None:
    images = torch.rand(3, 2, 1, 5, 7)
    assert torch.equal(map_tasks(channels_innermost, images, method="vmap"), images)
    assert torch.equal(map_tasks(channels_innermost, images, method="loop"), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_volumes_too(channels: int) -> None:
    volumes = torch.rand(2, channels, 4, 5, 7)
    moved = channels_innermost(volumes)
    assert torch.equal(moved, volumes)
    assert moved.stride() == (140 * channels, 1, 35 * channels, 7 * channels, channels)


def test_vectors_and_signals_come_back_as_they_are() -> None:
    for shape in ((2, 5), (2, 1, 12)):
        inputs = torch.rand(shape)
        assert channels_innermost(inputs) is inputs


def test_what_is_differentiated_twice_keeps_torch_s_own_layout() -> None:
    images = torch.rand(2, 3, 5, 7)
    with differentiated_twice():
        assert channels_innermost(images) is images
    assert channels_innermost(images) is not images
