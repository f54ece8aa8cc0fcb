"""Sums and means over the support images of each class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def class_means(embeddings: Tensor, labels: Tensor, n_way: int) -> Tensor:
    """Mean of each class: ``(T, S, D)`` with labels ``(T, S)`` to ``(T, n_way, D)``.

    Classes may have different numbers of images; one without any has the mean 0.

    >>> import torch
    >>> class_means(torch.tensor([[[1.0], [3.0], [5.0]]]), torch.tensor([[0, 0, 1]]), 2)
    tensor([[[2.],
             [5.]]])
    """
    members = F.one_hot(labels, n_way).to(embeddings.dtype)
    counts = members.sum(1).clamp(min=1)
    return members.mT @ embeddings / counts[..., None]
