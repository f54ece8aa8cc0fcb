"""Encoders that also say something of every pixel, for masks."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from medmeta.encoders._interface import AbstractEncoder
from medmeta.errors import UnsupportedTaskError


class DenseEncoder(AbstractEncoder):
    """Images ``(N, C, *space)`` to features of every pixel ``(N, dense_size, *space)``.

    As an encoder of whole images it gives the means of these over space.
    """

    dense_size: int

    @abstractmethod
    def dense(self, inputs: Tensor) -> Tensor:
        """Features of every pixel."""

    @property
    def embedding_size(self) -> int:  # type: ignore[override]
        """One number for each feature."""
        return self.dense_size

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """The features alone."""
        return [self.dense(inputs)]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Means over space."""
        return feature_map.flatten(2).mean(2)


def dense_encoder(encoder: AbstractEncoder) -> DenseEncoder:
    """The encoder, if it says something of every pixel; else raises ``UnsupportedTaskError``."""
    if isinstance(encoder, DenseEncoder):
        return encoder
    raise UnsupportedTaskError(
        f"{type(encoder).__name__} says nothing of single pixels, which masks need: use "
        "--encoder unet or filters, or leave --encoder out."
    )
