"""Embeddings in units of the support's spread, differentiably."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

LEAST_SPREAD = 0.1  # of the root mean square over the features: a still feature is no great one


@dataclass(frozen=True)
class SupportScale:
    """Mean ``(T, 1, D)`` and spread of each feature over a support, times the root of D."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, embeddings: Tensor) -> SupportScale:
        """Measure the support's embeddings ``(T, S, D)``."""
        mean = embeddings.mean(1, keepdim=True)
        squares = (embeddings - mean).square().mean(1, keepdim=True)
        least = LEAST_SPREAD**2 * squares.mean(-1, keepdim=True)
        rounding = 1e-10 * mean.square().mean(-1, keepdim=True)
        spread = (squares + least + rounding).clamp(min=1e-24).sqrt()
        return cls(mean, spread * embeddings.shape[-1] ** 0.5)

    def apply(self, embeddings: Tensor) -> Tensor:
        """Embeddings ``(T, Q, D)`` in these units: of the support, mean square length about 1."""
        return (embeddings - self.mean) / self.spread
