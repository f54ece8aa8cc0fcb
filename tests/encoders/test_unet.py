"""The U-Net on folded pictures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.encoders.unet import UNet
from medmeta.episode import InputSpec


def folded(fold: int, **options: int) -> UNet:
    torch.manual_seed(0)
    config = EncoderConfig(name="unet", options={"width": 4, "levels": 2, "fold": fold, **options})
    encoder = build_encoder(config, InputSpec(4, (17, 22)), norm="group")
    assert isinstance(encoder, UNet)
    return encoder.eval()


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_any_size_is_given_back(fold: int) -> None:
    for height, width in ((17, 22), (16, 16), (5, 7)):
        assert folded(fold).dense(torch.randn(2, 4, height, width)).shape == (2, 4, height, width)


@pytest.mark.parametrize("fold", [2, 3])
def test_folding_loses_no_pixel(fold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = folded(fold)
    monkeypatch.setattr(encoder, "_network", lambda inputs: inputs)
    encoder.unfold = nn.Identity()
    images = torch.randn(2, 4, 17, 22)
    assert torch.equal(encoder.dense(images), images)
