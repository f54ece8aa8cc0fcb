"""What an encoder is: images in, embeddings out, with its feature maps for those who ask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medmeta.settings import Settings

Norm = Literal["group", "running", "batch", "none"]
"""How activations are normalised: by groups of channels within an image (``group``), by running
statistics of the training set (``running``), by the batch at hand (``batch``: images help each
other, so results are transductive), or not at all."""


class EncoderConfig(Settings):
    """Which encoder, and how it normalises; ``options`` are the encoder's own.

    ``flips``: embeddings are means of those of the image and of its mirror image.
    """

    name: str = "conv4"
    norm: Norm | None = None
    flips: bool = False
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


@dataclass(frozen=True)
class EncoderSpec:
    """A registered encoder: its own options and how to build it.

    ``build(options, input_spec, norm)``; where ``parts(options)`` names encoders that it is made
    of, these are built first and are its fourth argument.
    """

    name: str
    summary: str
    options: type[Settings]
    build: Callable[..., AbstractEncoder]
    parts: Callable[[Any], Sequence[EncoderConfig]] | None = None
