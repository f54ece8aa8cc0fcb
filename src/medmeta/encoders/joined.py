"""Several encoders side by side: their embeddings, each of equal say, in one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from medmeta.encoders._interface import (
    AbstractEncoder,
    EncoderConfig,
    EncoderSpec,
    Norm,
    VectorEncoder,
)
from medmeta.episode import InputSpec
from medmeta.settings import Settings


class JoinedOptions(Settings):
    """Options of joined encoders.

    ``parts``: configurations of encoders; also their names between commas (``conv4,hog_colour``),
    or each name with its options (``{"conv4": {"width": 32}, "hog_colour": {}}``).
    ``standardise``: ``length`` brings the parts of every image to one length; ``image`` first
    takes away their mean over the part's numbers; ``none`` joins them as they are.
    """

    parts: tuple[EncoderConfig, ...] = Field(
        (EncoderConfig(name="conv4"), EncoderConfig(name="hog_colour")), min_length=2, max_length=8
    )
    standardise: Literal["length", "image", "none"] = "length"

    @field_validator("parts", mode="before")
    @classmethod
    def _from_names(cls, parts: Any) -> Any:
        if isinstance(parts, str):
            parts = parts.split(",")
        if isinstance(parts, Mapping):
            return [{"name": name, "options": given or {}} for name, given in parts.items()]
        if isinstance(parts, Sequence):
            return [{"name": p.strip()} if isinstance(p, str) else p for p in parts]
        return parts


class Joined(VectorEncoder):
    """The embeddings of several encoders of the same images, joined: ``(N, sum of sizes)``.

    Each image is standardised for itself, so that nothing of it depends on the others: every part
    has the same length, and the whole a mean square of 1. A part that is zero stays zero.
    """

    def __init__(
        self,
        options: JoinedOptions,
        input_spec: InputSpec,
        norm: Norm,
        parts: Sequence[AbstractEncoder],
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.standardise = options.standardise
        self.embedding_size = sum(part.embedding_size for part in parts)

    def embed(self, inputs: Tensor) -> Tensor:
        """The parts of equal length, joined: ``(N, embedding_size)``."""
        length = math.sqrt(self.embedding_size / len(self.parts))
        parts = [self._standardised(part(inputs), length) for part in self.parts]
        return torch.cat(parts, dim=1)

    def pooled_stages(self, inputs: Tensor) -> Tensor:
        """The pooled stages of every part, joined as they are."""
        return torch.cat([part.pooled_stages(inputs) for part in self.parts], dim=1)  # type: ignore[operator]

    def _standardised(self, embedding: Tensor, length: float) -> Tensor:
        if self.standardise == "none":
            return embedding
        if self.standardise == "image":
            embedding = embedding - embedding.mean(1, keepdim=True)
        return torch.nn.functional.normalize(embedding, dim=1, eps=1e-6) * length


def _parts(options: JoinedOptions, input_spec: InputSpec) -> list[tuple[EncoderConfig, InputSpec]]:
    return [(part, input_spec) for part in options.parts]


SPEC = EncoderSpec(
    "joined", "several encoders, their embeddings joined", JoinedOptions, Joined, _parts
)
