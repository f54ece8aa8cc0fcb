"""Records: numbers of a patient, through a small network or as they are."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, cat, nn

from medmeta.encoders._interface import EncoderSpec, Norm, VectorEncoder
from medmeta.episode import InputSpec
from medmeta.settings import Settings


class TabularOptions(Settings):
    """Options of the record encoder: units of its two layers; 0 takes the record as it is."""

    width: int = Field(64, ge=0, le=4096)


class Tabular(VectorEncoder):
    """A record ``(N, C)`` to ``(N, width)`` by two layers, beside which the record itself stands.

    What is in the record as it is (a class that one number tells) need not be learned, and what
    numbers tell together can be: the embedding is ``(N, width + C)``. Records are expected
    standardised and without gaps, as ``StandardisedRecords`` leaves them.

    >>> import torch
    >>> Tabular(TabularOptions(width=8), InputSpec(5, ()), "none")(torch.zeros(2, 5)).shape
    torch.Size([2, 13])
    """

    def __init__(self, options: TabularOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        size, width = input_spec.channels, options.width
        self.layers = (
            nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            if width
            else None
        )
        self.embedding_size = size + width

    def embed(self, inputs: Tensor) -> Tensor:
        """The record beside what was learned of it, ``(N, embedding_size)``."""
        if self.layers is None:
            return inputs
        learned: Tensor = self.layers(inputs)
        return cat([learned, inputs], dim=1)


SPEC = EncoderSpec(
    "tabular",
    "two layers beside the record itself",
    TabularOptions,
    Tabular,
    takes=frozenset({"vector"}),
)
