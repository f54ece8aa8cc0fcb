"""Embeddings in units of the support's spread, differentiably."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

PRIOR_IMAGES = 100
"""How many images weigh as much as the belief that all features spread alike.

Of 5, 20, 100 and more, this was best for centroids and support vector machines at 1 and 5 images
per class, on sources to train on, and each feature's own spread alone (0) the worst: a spread
measured on five images is mostly chance.
"""


@dataclass(frozen=True)
class SupportScale:
    """Mean ``(T, 1, D)`` of a support, and the spread that each feature is divided by.

    The variance of a feature over ``S`` images is shrunken to the mean variance of all features,
    which counts as ``PRIOR_IMAGES`` images. With one or two images per class distances stay
    nearly as they were; with hundreds each feature counts alike.
    """

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, embeddings: Tensor) -> SupportScale:
        """Measure the support's embeddings ``(T, S, D)``."""
        mean = embeddings.mean(1, keepdim=True)
        own = (embeddings - mean).square().mean(1, keepdim=True)
        n = embeddings.shape[1]
        shrunken = (n * own + PRIOR_IMAGES * own.mean(-1, keepdim=True)) / (n + PRIOR_IMAGES)
        rounding = 1e-10 * mean.square().mean(-1, keepdim=True)
        return cls(mean, (shrunken + rounding).clamp(min=1e-24).sqrt())

    def apply(self, embeddings: Tensor) -> Tensor:
        """Embeddings ``(T, Q, D)`` in these units: of the support, mean square about 1."""
        return (embeddings - self.mean) / self.spread

    def apply_to_length(self, embeddings: Tensor) -> Tensor:
        """The same over the root of D: of the support, mean square length about 1."""
        root: float = embeddings.shape[-1] ** 0.5
        return self.apply(embeddings) / root
