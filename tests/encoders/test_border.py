"""The border of an image, and nothing else of it."""

from __future__ import annotations

import pytest
import torch

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError

SPEC = InputSpec(2, (6, 8))


def border(width: int) -> AbstractEncoder:
    return build_encoder(EncoderConfig(name="border", options={"width": width}), SPEC, norm="none")


@pytest.mark.parametrize(("width", "pixels"), [(1, 24), (2, 40)])
def test_each_pixel_of_the_border_is_there_once(width: int, pixels: int) -> None:
    images = torch.arange(2 * 6 * 8.0).reshape(1, 2, 6, 8)  # every pixel another number
    encoder = border(width)
    assert encoder.embedding_size == 2 * pixels
    kept = torch.ones(6, 8, dtype=torch.bool)
    kept[width:-width, width:-width] = False
    assert torch.equal(encoder(images).sort(1).values, images[:, :, kept].flatten(1))
    assert list(encoder.parameters()) == []


def test_the_middle_says_nothing() -> None:
    one = torch.randn(3, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[:, :, 2:-2, 2:-2] += 9
    assert torch.equal(border(2)(one), border(2)(other))
    other[0, 0, 1, 3] += 1
    assert not torch.equal(border(2)(one), border(2)(other))


def test_stages_have_the_border_as_their_only_axis() -> None:
    encoder = border(1)
    images = torch.randn(3, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    assert [tuple(stage.shape) for stage in encoder.stages(images)] == [(3, 2, 24)]
    assert encoder.pooled_stages(images).shape == (3, 2)


def test_a_border_without_a_middle_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"3 pixels wide leaves no middle .*\(6, 8\)"):
        border(3)
