"""Sums and means over the support images of each class."""

from __future__ import annotations

import torch
from torch import Tensor


def memberships(labels: Tensor, n_way: int) -> Tensor:
    """Which class each image is of: labels ``(T, S)`` to booleans ``(T, S, n_way)``.

    (``one_hot`` of torch wants the number of classes as a plain number, which it is not where a
    task of any number of classes is written as one graph.)

    >>> memberships(torch.tensor([[1, 0]]), 2).tolist()
    [[[False, True], [True, False]]]
    """
    return labels[..., None] == torch.arange(n_way, device=labels.device)


def class_means(embeddings: Tensor, labels: Tensor, n_way: int) -> Tensor:
    """Mean of each class: ``(T, S, D)`` with labels ``(T, S)`` to ``(T, n_way, D)``.

    Classes may have different numbers of images; one without any has the mean 0.

    >>> import torch
    >>> class_means(torch.tensor([[[1.0], [3.0], [5.0]]]), torch.tensor([[0, 0, 1]]), 2)
    tensor([[[2.],
             [5.]]])
    """
    members = memberships(labels, n_way).to(embeddings.dtype)
    counts = members.sum(1).clamp(min=1)
    return members.mT @ embeddings / counts[..., None]
