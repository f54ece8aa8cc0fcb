"""Flip averaging: an image and its mirror image embed to one point."""

from __future__ import annotations

from torch import Tensor

from medmeta.encoders._interface import AbstractEncoder


class MirrorAveraged(AbstractEncoder):
    """The mean of what another encoder makes of an image and of its left-right mirror image.

    In training and in use alike; it doubles the time of encoding. Where the side matters (a heart
    on the right) it hides what is looked for.
    """

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.embedding_size = encoder.embedding_size

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """Means of the two images' feature maps, place by place."""
        pairs = zip(self.encoder.stages(inputs), self.encoder.stages(inputs.flip(-1)), strict=True)
        return [(one + other) / 2 for one, other in pairs]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """As the encoder does."""
        return self.encoder.summarise(feature_map)

    def forward(self, inputs: Tensor) -> Tensor:
        """Mean of the two embeddings, ``(N, embedding_size)``."""
        mean: Tensor = (self.encoder(inputs) + self.encoder(inputs.flip(-1))) / 2
        return mean

    def pooled_stages(self, inputs: Tensor) -> Tensor:
        """Mean of the two images' pooled stages."""
        pooled = self.encoder.pooled_stages
        return (pooled(inputs) + pooled(inputs.flip(-1))) / 2
