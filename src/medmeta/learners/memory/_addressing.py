"""Addressing a memory by content, and writing to it by erasing and adding."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

NORM_FLOOR = 1e-6  # a shorter vector counts as this long: the direction of zero has no gradient


def cosines(asked: Tensor, rows: Tensor) -> Tensor:
    """Cosine similarities ``(T, Q, M)`` of ``(T, Q, D)`` with a memory's rows ``(T, M, D)``.

    >>> import torch
    >>> cosines(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[3.0, 0.0], [0.0, 5.0]]]))
    tensor([[[1., 0.]]])
    """
    directions = F.normalize(asked, dim=-1, eps=NORM_FLOOR)
    return directions @ F.normalize(rows, dim=-1, eps=NORM_FLOOR).mT


def cosine_address(asked: Tensor, rows: Tensor, sharpness: Tensor) -> Tensor:
    """Weights ``(T, Q, M)`` over a memory's rows, which sum to 1.

    The softmax of cosine similarities times ``sharpness``. Graves, Wayne and Danihelka 2014,
    equations 5 and 6.
    """
    return (sharpness * cosines(asked, rows)).softmax(dim=-1)


def erase_and_add(rows: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """The memory after ``n`` writes at once: ``m ← m · Π(1 - w e) + Σ w a``, ``(T, M, D)``.

    ``rows`` ``(T, M, D)``, ``weights`` ``(T, n, M)``, ``erase`` between 0 and 1 and ``add``
    ``(T, n, D)``. The order of the writes does not matter. Graves, Wayne and Danihelka 2014,
    equations 3 and 4.

    >>> import torch
    >>> rows, one = torch.tensor([[[8.0], [8.0]]]), torch.ones(1, 1, 1)
    >>> erase_and_add(rows, torch.tensor([[[0.75, 0.25]]]), one, 4 * one)
    tensor([[[5.],
             [7.]]])
    """
    kept = (1 - weights[..., None] * erase[:, :, None]).prod(dim=1)
    return rows * kept + weights.mT @ add
