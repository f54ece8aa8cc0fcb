"""What an encoder is: images in, embeddings out, with its feature maps for those who ask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
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


AUTO = "auto"


class EncoderConfig(Settings):
    """Which encoder, and how it normalises; ``options`` are the encoder's own.

    ``name`` ``auto``: Conv-4 of signals, images and volumes, the small network of records, the
    fusion of several kinds of input. ``flips``: embeddings are means of those of the image and of
    its mirror image.
    """

    name: str = AUTO
    norm: Norm | None = None
    flips: bool = False
    options: dict[str, Any] = Field(default_factory=dict)


class AbstractEncoder(nn.Module, ABC):
    """Inputs ``(N, C, *space)`` to embeddings ``(N, embedding_size)``.

    Of a mapping of named tensors, each ``(N, ...)``, where an encoder takes such.
    """

    embedding_size: int

    @abstractmethod
    def stages(self, inputs: Any) -> list[Tensor]:
        """Feature maps ``(N, C', *space')`` after each stage; the last is what is embedded."""

    @abstractmethod
    def summarise(self, feature_map: Tensor) -> Tensor:
        """The last feature map as embeddings ``(N, embedding_size)``."""

    def forward(self, inputs: Any) -> Tensor:
        """Embed ``(N, C, *space)`` to ``(N, embedding_size)``."""
        return self.summarise(self.stages(inputs)[-1])

    def pooled_stages(self, inputs: Any) -> Tensor:
        """Means over space of every stage's feature map, joined: ``(N, sum of channels)``."""
        return torch.cat([stage.flatten(2).mean(2) for stage in self.stages(inputs)], dim=1)

    @property
    def has_weights(self) -> bool:
        """Whether anything of it was, or can be, learned."""
        return any(True for _ in self.parameters())

    @property
    def tunable(self) -> AbstractEncoder:
        """What of it is trained on where a whole network is trained: itself."""
        return self


class VectorEncoder(AbstractEncoder):
    """An encoder without feature maps: what it gives is a vector, its only stage."""

    @abstractmethod
    def embed(self, inputs: Any) -> Tensor:
        """Inputs to embeddings ``(N, embedding_size)``."""

    def stages(self, inputs: Any) -> list[Tensor]:
        """The embedding ``(N, embedding_size, 1)``, the only stage."""
        return [self.embed(inputs)[:, :, None]]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Drop the one position."""
        return feature_map.flatten(1)


IMAGES = frozenset({"image"})
SPATIAL = frozenset({"signal", "image", "volume"})


@dataclass(frozen=True)
class EncoderSpec:
    """A registered encoder: its own options, how to build it, and the kinds of input it takes.

    ``build(options, input_spec, norm)``; where ``parts(options, input_spec)`` names encoders that
    it is made of, each with what it is given, these are built first and are its fourth argument.
    """

    name: str
    summary: str
    options: type[Settings]
    build: Callable[..., AbstractEncoder]
    parts: Callable[[Any, InputSpec], Sequence[tuple[EncoderConfig, InputSpec]]] | None = None
    takes: frozenset[str] = IMAGES
