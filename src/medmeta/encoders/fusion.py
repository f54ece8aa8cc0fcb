"""Several kinds of input of one patient in one embedding: an image, its modalities, a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.encoders._interface import (
    AbstractEncoder,
    EncoderConfig,
    EncoderSpec,
    Norm,
    VectorEncoder,
)
from medmeta.encoders._present import Present, forgotten_some
from medmeta.episode import Inputs, InputSpec
from medmeta.errors import SettingsError
from medmeta.input_parts import IMAGE, PRESENT, RECORD
from medmeta.settings import Settings

LENGTH = 4.0
"""Of the embedding of each part: squared distances, and so logits, begin in the tens."""


class FusionOptions(Settings):
    """Options of the fusion of an image with what is known beside it.

    ``image`` and ``record``: the encoders of the two. ``fusion``: ``late`` sets the embeddings side
    by side, each of one length; ``gated`` sets beside them what the record makes of the image, as
    a gate on each of its units. ``width``: units of the gate.
    ``drop``: the share of training images of which a modality, or the record, is hidden, so that
    the network learns to do without.
    """

    image: EncoderConfig = EncoderConfig()
    record: EncoderConfig = EncoderConfig()
    fusion: Literal["late", "gated"] = "gated"
    width: int = Field(64, ge=1, le=4096)
    drop: float = Field(0.25, ge=0, lt=1)


class Fusion(VectorEncoder):
    """An image ``(N, C, *space)`` with ``present`` ``(N, M)`` or ``record`` ``(N, R)``, as one.

    Modalities that are not ``present`` are blanked, and the network is told which. Gated, each
    unit of the image is multiplied by one of the record, which so opens it, closes it or turns it
    over: what only both together tell is then one step away (Kim et al. 2017, Hadamard Product for
    Low-Rank Bilinear Pooling, equation 8).
    """

    def __init__(
        self,
        options: FusionOptions,
        input_spec: InputSpec,
        norm: Norm,
        parts: Sequence[AbstractEncoder],
    ) -> None:
        super().__init__()
        self.drop = options.drop
        self.encoders = nn.ModuleDict(dict(zip(_encoded(input_spec), parts, strict=True)))
        modalities = input_spec.part(PRESENT)
        self.present = Present(modalities.channels) if modalities is not None else None
        sizes = [part.embedding_size for part in parts]
        self.gate = GatedUnit(sizes, options.width) if _gated(options, parts) else None
        self.embedding_size = sum(sizes) + (options.width if self.gate is not None else 0)

    def embed(self, inputs: Inputs) -> Tensor:
        """What the encoders give, and the gate's mixture of it: ``(N, embedding_size)``."""
        given = self._given(inputs)
        embedded = [
            F.normalize(encoder(given[name]), dim=1, eps=1e-6) * LENGTH
            for name, encoder in self.encoders.items()
        ]
        if self.gate is not None:
            embedded.append(self.gate(*embedded))
        return torch.cat(embedded, dim=1)

    def _given(self, inputs: Inputs) -> dict[str, Tensor]:
        """What each encoder is given; in training some of it is hidden."""
        assert not isinstance(inputs, Tensor)
        given = {name: inputs[name] for name in self.encoders}
        if self.present is not None:
            there = inputs[PRESENT]
            if self.training:
                there = forgotten_some(there, self.drop)
            given[IMAGE] = self.present(given[IMAGE], there)
        if self.training and self.drop and len(given) > 1:
            hidden = torch.rand(len(given[RECORD]), 1, device=given[RECORD].device) < self.drop
            given[RECORD] = given[RECORD] * ~hidden
        return given


class GatedUnit(nn.Module):
    """Two embeddings ``(N, D₁)`` and ``(N, D₂)`` to ``(N, width)``, one the gate of the other."""

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        first, second = sizes
        self.of_first = nn.Linear(first, width)
        self.of_second = nn.Linear(second, width)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """``tanh(W₁ x₁) · tanh(W₂ x₂)``."""
        return cast(Tensor, self.of_first(first).tanh() * self.of_second(second).tanh())


def _gated(options: FusionOptions, parts: Sequence[AbstractEncoder]) -> bool:
    return options.fusion == "gated" and len(parts) == 2


def _encoded(input_spec: InputSpec) -> list[str]:
    """The parts that have an encoder each: the image and the record, where they are."""
    return [name for name, _ in input_spec.parts if name != PRESENT]


def parts_of(
    options: FusionOptions, input_spec: InputSpec
) -> list[tuple[EncoderConfig, InputSpec]]:
    """The encoders that a fusion is made of, each with what it is given.

    Raises ``SettingsError`` for a mapping of other parts.
    """
    unknown = [name for name, _ in input_spec.parts if name not in (IMAGE, PRESENT, RECORD)]
    if unknown or not _encoded(input_spec):
        raise SettingsError(
            f"the fusion encoder takes {IMAGE}, {PRESENT} and {RECORD}, not "
            f"{', '.join(name for name, _ in input_spec.parts) or 'nothing'}."
        )
    found = []
    for name in _encoded(input_spec):
        spec, config = input_spec.part(name), options.image if name == IMAGE else options.record
        assert spec is not None
        present = input_spec.part(PRESENT)
        if name == IMAGE and present is not None:
            spec = InputSpec(spec.channels + present.channels, spec.size)
        found.append((config, spec))
    return found


SPEC = EncoderSpec(
    "fusion",
    "an image with its modalities or its patient's record",
    FusionOptions,
    Fusion,
    parts_of,
    takes=frozenset({"mapping"}),
)
