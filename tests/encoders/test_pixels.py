"""Pixels as they are, or shrunk by means of areas."""

from __future__ import annotations

import torch

from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.episode import InputSpec

SPEC = InputSpec(2, (4, 8))
IMAGES = torch.arange(2 * 2 * 4 * 8.0).reshape(2, 2, 4, 8)


def test_pixels_are_flattened() -> None:
    encoder = build_encoder(EncoderConfig(name="pixels"), SPEC, norm="none")
    assert encoder.embedding_size == 64
    assert torch.equal(encoder(IMAGES), IMAGES.flatten(1))
    assert list(encoder.parameters()) == []


def test_shrinking_takes_means_and_keeps_the_proportions() -> None:
    config = EncoderConfig(name="pixels", options={"side": 4})
    encoder = build_encoder(config, SPEC, norm="none")
    wanted = IMAGES.reshape(2, 2, 2, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(encoder(IMAGES), wanted.flatten(1))
    assert encoder.embedding_size == 2 * 2 * 4


def test_images_are_never_enlarged() -> None:
    config = EncoderConfig(name="pixels", options={"side": 100})
    assert build_encoder(config, SPEC, norm="none").embedding_size == 64
