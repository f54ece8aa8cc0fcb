"""A vision transformer of Hugging Face's as an encoder: the same embeddings as without medmeta."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medmeta.data.preprocess import as_float
from medmeta.encoders import ExternalEncoder
from medmeta.encoders.external import ExternalOptions
from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.errors import SettingsError
from medmeta.learners import build_learner

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def vit() -> Any:
    """Random weights, from a configuration."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48,
    )  # fmt: skip
    return transformers.ViTModel(config, add_pooling_layer=False).eval()


class FirstToken(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.model(pixel_values=images).last_hidden_state
        return tokens[:, 0]


def test_embeddings_are_those_of_its_own_preprocessing(vit: Any) -> None:
    pixels = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    encoder = ExternalEncoder(
        FirstToken(vit), InputSpec(3, (32, 32)), ExternalOptions(mean=MEAN, std=STD, frozen=True)
    )
    assert encoder.embedding_size == 24
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (MEAN, STD))
    with torch.no_grad():
        wanted = vit(pixel_values=(pixels / 255 - mean) / std).last_hidden_state[:, 0]
        found = encoder(as_float(pixels.to(torch.uint8)))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_it_serves_learners_and_is_tuned_by_them(vit: Any) -> None:
    spec, target = InputSpec(3, (32, 32)), Target("classes", 3)
    support = LabelledSet(torch.rand(1, 6, 3, 32, 32), torch.arange(6)[None] % 3, torch.zeros(1))
    learner = build_learner("prototypical", None, spec, target, encoder=FirstToken(vit))
    assert learner.traits.trainable
    logits = learner.adapt(support, target)(torch.rand(1, 4, 3, 32, 32))
    assert logits.shape == (1, 4, 3)
    logits.sum().backward()
    assert vit.embeddings.patch_embeddings.projection.weight.grad is not None


def test_a_model_without_a_wrapper_says_what_to_give(vit: Any) -> None:
    with pytest.raises(SettingsError, match="of a Hugging Face model, its output's tensor"):
        ExternalEncoder(vit, InputSpec(3, (32, 32)))
