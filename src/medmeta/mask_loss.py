"""How far masks are from the truth, as a number with a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTH = 1.0


def soft_dice_loss(logits: Tensor, labels: Tensor, *, smooth: float = SMOOTH) -> Tensor:
    """One less the soft Dice of each image, ``(N,)``, a mean over the structures.

    ``logits`` ``(N, size, *space)``, ``labels`` ``(N, *space)`` with -1 where nothing is known. The
    background, class 0, is no structure. ``smooth`` stands above and below the line, so that an
    empty answer to an empty mask costs nothing. Milletari, Navab and Ahmadi 2016, with sums in
    place of squares.

    >>> sure = torch.tensor([[[-50.0, 50.0], [50.0, -50.0]]])  # (1, 2, 2): pixel 0 is marked
    >>> soft_dice_loss(sure, torch.tensor([[1, 0]]))
    tensor([0.])
    """
    known = (labels >= 0).unsqueeze(1)
    classes = torch.arange(1, logits.shape[1], device=labels.device)
    shape = (1, -1, *[1] * (labels.ndim - 1))
    truth = (labels.unsqueeze(1) == classes.reshape(shape)).to(logits.dtype).flatten(2)
    given = (logits.softmax(1)[:, 1:] * known).flatten(2)
    both = (given * truth).sum(2)
    return 1 - ((2 * both + smooth) / (given.sum(2) + truth.sum(2) + smooth)).mean(1)
