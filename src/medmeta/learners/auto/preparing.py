"""Embeddings of several parts brought to one scale by a support, and compared: their kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medmeta.learners.auto.candidates import Preparation, part_weights
from medmeta.learners.heads._class_blocks import solving_precision

SHRINKAGE = 8.0  # images that the belief about variances weighs as much as
LEAST = 1e-12


@dataclass(frozen=True)
class Scale:
    """How one part is prepared, by the images that ``mask`` ``(T, F, S)`` takes of each task.

    ``mean`` ``(T, F, D)``; ``factor`` ``(T, F, D)`` multiplies what is left.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def of(
        cls,
        embeddings: Tensor,
        mask: Tensor,
        preparation: Preparation,
        variances: Tensor | None = None,
    ) -> Scale:
        """Measure embeddings ``(T, S, D)``.

        ``plain`` takes the mean away and brings the whole to a mean squared length of 1.
        ``standardised`` divides each number by its deviation first; its variance is shrunk towards
        ``variances`` ``(D,)`` of source data (None: towards the mean of all), which count as much
        as ``SHRINKAGE`` images and are brought to the task's own total.
        """
        count = mask.sum(-1, keepdim=True).clamp(min=1)
        middle = embeddings.mean(1, keepdim=True)  # or squares of a large part that all share drown
        about = embeddings - middle  # what they differ by
        away = mask @ about / count
        mean, spread = middle + away, (mask @ about.square() / count - away.square()).clamp(min=0)
        total = spread.sum(-1, keepdim=True).clamp(min=LEAST)
        if preparation == "plain":
            return cls(mean, total.rsqrt().expand_as(spread))
        believed = torch.ones_like(spread) if variances is None else variances.expand_as(spread)
        believed = believed / believed.sum(-1, keepdim=True).clamp(min=LEAST) * total
        shrunk = (count * spread + SHRINKAGE * believed) / (count + SHRINKAGE)
        factor = shrunk.clamp(min=LEAST * total).rsqrt()
        length = (spread * factor.square()).sum(-1, keepdim=True).clamp(min=LEAST)
        return cls(mean, factor * length.rsqrt())

    def apply(self, embeddings: Tensor) -> Tensor:
        """``(T, S, D)`` to ``(T, F, S, D)``."""
        return (embeddings[:, None] - self.mean[:, :, None]) * self.factor[:, :, None]


def part_kernels(
    embeddings: Mapping[str, Tensor],
    mask: Tensor,
    preparation: Preparation,
    variances: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Of each part, products of all images ``(T, F, S, S)``, prepared by those of the mask."""
    found = {}
    for name, numbers in embeddings.items():
        scale = Scale.of(numbers, mask, preparation, variances.get(name))
        prepared = scale.apply(numbers)
        found[name] = solving_precision(prepared @ prepared.mT)
    return found


def joined_kernel(
    kernels: Mapping[str, Tensor], parts: Sequence[str], preparation: Preparation
) -> Tensor:
    """The kernel of several parts side by side, each of its say."""
    weights = part_weights(parts, preparation)
    counted = [kernels[part] * weight for part, weight in zip(parts, weights, strict=True)]
    return torch.stack(counted).sum(0) / sum(weights)


def gaussian(kernel: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """``exp(-d² / 2)`` of the distances d that a kernel ``(..., n, m)`` of products gives.

    ``own`` ``(..., n)`` and ``other`` ``(..., m)`` are squared lengths; the mean is about 1.

    >>> one = torch.ones(1)
    >>> gaussian(torch.ones(1, 1), one, one)
    tensor([[1.]])
    """
    distance = own[..., :, None] + other[..., None, :] - 2 * kernel
    return (-0.5 * distance.clamp(min=0)).exp()
