"""Pixels as examples: features of labelled pixels, and ridge regression on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SCALE = 4.0  # from ridge scores, which are about 0 and 1, to logits
MOST = (1600, 1600, 6000)  # pixels of a signal, image or volume that a regression is fitted on


@dataclass(frozen=True)
class PixelRidge:
    """Scores of pixels by a ridge regression that was fitted for each of ``T`` tasks.

    ``mean``, ``spread`` ``(T, D, 1)`` standardise the features; ``hidden`` ``(R, D + 1)`` are
    random weights, alike in all tasks, of which rectified features are made (Rahimi and Recht
    2008); ``weights`` ``(T, size, 1 + D + R)``.
    """

    mean: Tensor
    spread: Tensor
    hidden: Tensor
    weights: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """``(T, Q, D, *space)`` to ``(T, Q, size, *space)``."""
        found = [
            self.weights @ _lifted(one.flatten(2), self.mean, self.spread, self.hidden)
            for one in features.unbind(1)
        ]
        return torch.stack(found, dim=1).reshape(
            *features.shape[:2], self.weights.shape[1], *features.shape[3:]
        )


def fit_ridge(
    features: Tensor, labels: Tensor, size: int, hidden: Tensor, *, penalty: float
) -> PixelRidge:
    """Ridge regression of one-hot labels on pixels, for each task.

    ``features`` ``(T, S, D, *space)``, ``labels`` ``(T, S, *space)`` (-1: not used). A class's
    pixels weigh by the root of its share, so that a small structure is not drowned nor blown up.
    ``penalty`` is relative to the mean of the diagonal.
    """
    flat, wanted, each = _examples(features, labels)
    known = (wanted >= 0).to(flat.dtype)[:, None]
    count = known.sum(2, keepdim=True).clamp(min=1)
    mean = (flat * known).sum(2, keepdim=True) / count
    centred = (flat - mean) * known
    spread = (centred.square().sum(2, keepdim=True) / count).sqrt() + 1e-3
    classes = torch.arange(size, device=labels.device)
    truth = (wanted[:, None] == classes[:, None]).to(flat.dtype)  # (T, size, P)
    weighed = truth * each[:, None]
    share = weighed.sum(2, keepdim=True) / (known * each[:, None]).sum(2, keepdim=True).clamp(min=1)
    weight = (weighed / share.clamp(min=1e-6).sqrt()).sum(1, keepdim=True)
    lifted = _lifted(flat, mean, spread, hidden)
    heavy = lifted * weight
    gram = heavy @ lifted.transpose(1, 2)
    size_of = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp(min=1e-6)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    solved = torch.linalg.solve(gram / size_of + penalty * eye, heavy @ truth.transpose(1, 2))
    return PixelRidge(mean, spread, hidden, (solved / size_of).transpose(1, 2))


def _examples(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels to fit on: features ``(T, D, P)``, labels ``(T, P)`` and weights ``(T, P)``.

    Of large images every second pixel along each axis, or every third, and so on; where only some
    are labelled, these. Each image weighs alike, however few of its pixels are labelled.
    """
    space = labels.shape[2:]
    axes, pixels, known = len(space), math.prod(space), labels >= 0
    count = known.flatten(2).sum(2).clamp(min=1).to(features.dtype)
    each = (pixels / count).reshape(*count.shape, *[1] * axes).expand(labels.shape)
    step = max(1, round((pixels / MOST[axes - 1]) ** (1 / axes)))
    whole = bool(known.all())
    grid_of = (slice(step // 2, None, step),) * axes
    if step > 1 and whole:
        every: Any = (..., *grid_of)
        features, labels, each = features[every], labels[every], each[every]
    elif step > 1:
        grid = torch.zeros(space, dtype=torch.bool, device=labels.device)
        grid[grid_of] = True
        marked = known.flatten(2).all(2).reshape(*count.shape, *[1] * axes)  # all of an image
        chosen = torch.where(marked, grid, known)
        each = torch.where(marked, 1.0, 1 / step**axes).to(each) * each
        if len(labels) == 1:
            flat = features[0].transpose(0, 1)[:, chosen[0]][None]
            return flat, labels[:, chosen[0]], each[:, chosen[0]]
        labels = torch.where(chosen, labels, -1)  # tasks of other numbers of pixels
    return features.transpose(1, 2).flatten(2), labels.flatten(1), each.flatten(1)


def _lifted(flat: Tensor, mean: Tensor, spread: Tensor, hidden: Tensor) -> Tensor:
    """Of ``(T, D, P)``: one, the standardised features, and rectified random sums of them."""
    standard = ((flat - mean) / spread).clamp(-6, 6)
    known = torch.cat([torch.ones_like(standard[:, :1]), standard], dim=1)
    return torch.cat([known, (hidden.to(known.dtype) @ known).relu()], dim=1)


def random_weights(features: int, count: int, *, seed: int) -> Tensor:
    """``(count, features + 1)``: the same whenever it is drawn."""
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, features + 1, generator=random)
    return drawn / math.sqrt(features + 1)
