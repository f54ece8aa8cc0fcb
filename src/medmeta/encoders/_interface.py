"""What an encoder is: images in, embeddings out, with its feature maps for those who ask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import InputSpec
from medmeta.settings import Settings

Norm = Literal["group", "running", "batch", "none"]
"""How activations are normalised: by groups of channels within an image (``group``), by running
statistics of the training set (``running``), by the batch at hand (``batch``: images help each
other, so results are transductive), or not at all."""


class EncoderConfig(Settings):
    """Which encoder, and how it normalises; ``options`` are the encoder's own."""

    name: str = "conv4"
    norm: Norm | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class AbstractEncoder(nn.Module, ABC):
    """Images ``(N, C, *space)`` to embeddings ``(N, embedding_size)``."""

    embedding_size: int

    @abstractmethod
    def stages(self, inputs: Tensor) -> list[Tensor]:
        """Feature maps ``(N, C', *space')`` after each stage; the last is what is embedded."""

    @abstractmethod
    def summarise(self, feature_map: Tensor) -> Tensor:
        """The last feature map as embeddings ``(N, embedding_size)``."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed ``(N, C, *space)`` to ``(N, embedding_size)``."""
        return self.summarise(self.stages(inputs)[-1])

    def pooled_stages(self, inputs: Tensor) -> Tensor:
        """Means over space of every stage's feature map, joined: ``(N, sum of channels)``."""
        return torch.cat([stage.flatten(2).mean(2) for stage in self.stages(inputs)], dim=1)


def after_each(blocks: nn.ModuleList, inputs: Tensor) -> list[Tensor]:
    """What comes out of each of the blocks, run one after the other."""
    outputs = []
    for block in blocks:
        inputs = block(inputs)
        outputs.append(inputs)
    return outputs


@dataclass(frozen=True)
class EncoderSpec:
    """A registered encoder: its own options and how to build it."""

    name: str
    summary: str
    options: type[Settings]
    build: Callable[[Any, InputSpec, Norm], AbstractEncoder]
