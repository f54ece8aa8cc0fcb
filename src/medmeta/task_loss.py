"""The loss of answers to a task, by what it asks for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.episode import Target
from medmeta.mask_loss import soft_dice_loss


def task_loss(predictions: Tensor, labels: Tensor, target: Target, *, focal: float = 0.0) -> Tensor:
    """Mean loss of each task, ``(T,)``.

    ``predictions`` ``(T, Q, size, *space)``; cross-entropy for classes, and for masks with the soft
    Dice loss added (labels of -1 count nothing); squared error for values. ``focal`` above 0 weighs
    each cross-entropy by ``(1 - p) ** focal``, ``p`` being what is given to the true class (Lin et
    al. 2017, equation 4): pixels that are right already count less.

    >>> logits = torch.zeros(2, 3, 5)
    >>> task_loss(logits, torch.zeros(2, 3, dtype=torch.long), Target("classes", 5))
    tensor([1.6094, 1.6094])
    """
    if target.kind == "values":
        return (predictions - labels).square().flatten(1).mean(1)
    logits = predictions.to(torch.promote_types(predictions.dtype, torch.float32)).flatten(0, 1)
    losses = F.cross_entropy(logits, labels.flatten(0, 1), ignore_index=-1, reduction="none")
    if focal:
        # A hair of doubt is left: a power below 1 has no slope at an answer that is certain.
        losses = (1 - (-losses).exp()).clamp(min=1e-6) ** focal * losses
    losses = losses.reshape(labels.shape[0], -1)
    counted = (labels.flatten(1) >= 0).sum(1).clamp(min=1)
    mean = losses.sum(1) / counted
    if target.kind == "masks":
        dice = soft_dice_loss(logits, labels.flatten(0, 1))
        return mean + dice.reshape(labels.shape[0], -1).mean(1)
    return mean
