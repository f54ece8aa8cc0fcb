"""Encoders side by side that stay apart: each part's numbers have a place, and a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from medmeta.encoders import colours, hog_colour, local_patterns, spectrum
from medmeta.encoders._hand_made import LEAST_SIDE
from medmeta.encoders._interface import (
    IMAGES,
    SPATIAL,
    AbstractEncoder,
    EncoderConfig,
    EncoderSpec,
    Norm,
    VectorEncoder,
)
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.modes import answering
from medmeta.settings import Settings

LEARNED, HAND_MADE = "learned", "hand_made"
HAND_MADE_PARTS = {
    "shape": hog_colour.SPEC,
    "grain": local_patterns.SPEC,
    "spectrum": spectrum.SPEC,
    "colours": colours.SPEC,
}
"""What is put beside a network; none of it learned."""


class PartsOptions(Settings):
    """Options of encoders side by side.

    ``parts``: a name for each, and its configuration.
    """

    parts: dict[str, EncoderConfig] = Field(
        default_factory=lambda: {
            LEARNED: EncoderConfig(name="resnet10"),
            HAND_MADE: EncoderConfig(name="hog_colour"),
        },
        min_length=1,
        max_length=8,
    )


class Parts(VectorEncoder):
    """The embeddings of several encoders of the same inputs, raw, one after the other.

    What has weights and maps over space gives the means of all its stages: early ones say more of
    images unlike those it was trained on. All else gives its embedding. ``slices`` says where each
    part lies in the whole ``(N, sum of sizes)``.
    """

    def __init__(self, parts: Mapping[str, AbstractEncoder], input_spec: InputSpec) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.pooled = {
            name: input_spec.kind in SPATIAL and part.has_weights for name, part in parts.items()
        }
        self.sizes = {name: self._size(name, input_spec) for name in parts}
        self.embedding_size = sum(self.sizes.values())

    @property
    def slices(self) -> dict[str, slice]:
        """Where the numbers of each part are."""
        found, first = {}, 0
        for name, size in self.sizes.items():
            found[name] = slice(first, first + size)
            first += size
        return found

    @property
    def tunable(self) -> AbstractEncoder:
        """The first part that has weights; all of them where none has."""
        for part in self.parts.values():
            assert isinstance(part, AbstractEncoder)
            if part.has_weights:
                return part.tunable
        return self

    def embed(self, inputs: Any) -> Tensor:
        """The embeddings of all parts, ``(N, embedding_size)``."""
        return torch.cat([self._of(name, inputs) for name in self.parts], dim=1)

    def _of(self, name: str, inputs: Any) -> Tensor:
        part = self.parts[name]
        assert isinstance(part, AbstractEncoder)
        embedding: Tensor = part.pooled_stages(inputs) if self.pooled[name] else part(inputs)
        return embedding

    def _size(self, name: str, input_spec: InputSpec) -> int:
        """How many numbers a part gives, by a blank input; its modules keep their modes."""
        part = self.parts[name]
        assert isinstance(part, AbstractEncoder)
        if not self.pooled[name]:
            return part.embedding_size
        blank = input_spec.blank(2)
        assert isinstance(blank, Tensor)
        with answering(part):
            return part.pooled_stages(blank.to(next(part.parameters()))).shape[1]


def beside_hand_made(encoder: AbstractEncoder, input_spec: InputSpec) -> Parts:
    """An encoder beside hand-made features, where the inputs are images that these take.

    Parts are left as they are.
    """
    if isinstance(encoder, Parts):
        return encoder
    learned = encoder.has_weights
    parts = {LEARNED if learned else HAND_MADE: encoder}
    takes = input_spec.kind in IMAGES and min(input_spec.size) >= LEAST_SIDE
    if learned and takes:
        for name, spec in HAND_MADE_PARTS.items():
            parts[name] = spec.build(spec.options(), input_spec, "none")
    return Parts(parts, input_spec)


def _parts(options: PartsOptions, input_spec: InputSpec) -> list[tuple[EncoderConfig, InputSpec]]:
    return [(part, input_spec) for part in options.parts.values()]


def _build(
    options: PartsOptions, input_spec: InputSpec, norm: Norm, parts: list[AbstractEncoder]
) -> Parts:
    if wrong := [name for name in options.parts if not name.isidentifier()]:
        raise SettingsError(f"encoder parts: {wrong[0]!r} is no name for a part; use letters.")
    return Parts(dict(zip(options.parts, parts, strict=True)), input_spec)


SPEC = EncoderSpec(
    "parts",
    "several encoders side by side, each with its own place",
    PartsOptions,
    _build,
    _parts,
    takes=SPATIAL | {"vector", "mapping"},
)
