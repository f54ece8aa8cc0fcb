"""Flip averaging: an image and its mirror image embed to one point."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.episode import InputSpec

SPEC = InputSpec(1, (16, 16))
OPTIONS: dict[str, dict[str, Any]] = {
    "border": {},
    "conv4": {"width": 4, "pools": 2},
    "hog_colour": {},
    "pixels": {},
    "resnet10": {"widths": (2, 2, 4, 4), "embed": "stages"},
}


def pair(name: str) -> tuple[AbstractEncoder, AbstractEncoder]:
    """An encoder with flips, and the one inside it."""
    config = EncoderConfig(name=name, flips=True, options=OPTIONS[name])
    encoder = build_encoder(config, SPEC, norm="group").eval()
    return encoder, encoder.encoder  # type: ignore[return-value]


def images() -> Tensor:
    return torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", OPTIONS)
@torch.no_grad()
def test_the_embedding_is_the_mean_and_the_mirror_image_has_the_same(name: str) -> None:
    encoder, inner = pair(name)
    mirrored = images().flip(3)
    assert encoder.embedding_size == inner.embedding_size
    torch.testing.assert_close(encoder(images()), (inner(images()) + inner(mirrored)) / 2)
    torch.testing.assert_close(encoder(images()), encoder(mirrored))
    assert not torch.allclose(inner(images()), inner(mirrored))
    torch.testing.assert_close(encoder.pooled_stages(images()), encoder.pooled_stages(mirrored))


@torch.no_grad()
def test_stages_are_means_too_and_the_last_is_what_is_embedded() -> None:
    encoder, inner = pair("conv4")
    both = zip(inner.stages(images()), inner.stages(images().flip(3)), strict=True)
    for found, (one, other) in zip(encoder.stages(images()), both, strict=True):
        torch.testing.assert_close(found, (one + other) / 2)
    torch.testing.assert_close(encoder.summarise(encoder.stages(images())[-1]), encoder(images()))


def test_it_is_off_unless_asked_for_and_readable_as_text() -> None:
    assert EncoderConfig().flips is False
    assert EncoderConfig.model_validate({"flips": "true"}).flips is True
