"""Volumes slice by slice."""

from __future__ import annotations

import pytest
import torch

from medmeta.encoders import EncoderConfig, Norm, build_encoder
from medmeta.encoders.slicewise import Attention
from medmeta.episode import InputSpec

SPEC = InputSpec(1, (5, 16, 16))


def _encoder(pool: str) -> torch.nn.Module:
    torch.manual_seed(0)
    image = {"options": {"width": 4}}
    config = EncoderConfig(name="slicewise", options={"pool": pool, "image": image})
    return build_encoder(config, SPEC, norm="group").eval()


@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
def test_slices_are_pooled_whatever_their_order(pool: str) -> None:
    encoder, volumes = _encoder(pool), torch.randn(2, *SPEC.shape)
    mixed = volumes[:, :, torch.tensor([3, 0, 4, 1, 2])]
    torch.testing.assert_close(encoder(volumes), encoder(mixed))


def test_the_mean_is_that_of_the_slices_embeddings() -> None:
    encoder, volume = _encoder("mean"), torch.randn(1, *SPEC.shape)
    slices = torch.stack([encoder.encoder(volume[:, :, i])[0] for i in range(5)])
    torch.testing.assert_close(encoder(volume)[0], slices.mean(0))


def test_attention_begins_as_the_mean_and_is_a_mean() -> None:
    attention, embeddings = Attention(3), torch.randn(2, 4, 3)
    torch.testing.assert_close(attention(embeddings), embeddings.mean(1))
    torch.nn.init.normal_(attention.score.weight, std=5.0)
    same = torch.ones(2, 4, 3) * torch.tensor([1.0, -2.0, 0.5])
    torch.testing.assert_close(attention(same), same[:, 0])


@pytest.mark.parametrize("norm", ["group", "batch", "running"])
def test_many_slices_embed_alike_with_and_without_a_gradient(norm: Norm) -> None:
    config = EncoderConfig(name="slicewise", options={"image": {"options": {"width": 8}}})
    encoder = build_encoder(config, InputSpec(1, (70, 64, 64)), norm=norm).eval()
    volumes = torch.randn(2, 1, 70, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        some_at_a_time = encoder(volumes)
    torch.testing.assert_close(encoder(volumes).detach(), some_at_a_time)
