"""What several predictors say together: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def mixture(logits: Sequence[Tensor], dim: int = -1) -> Tensor:
    """The logarithm of the mean of the probabilities of several; one alone stays as it is.

    ``dim`` is the axis of classes. Lakshminarayanan, Pritzel and Blundell 2017, section 2.4.

    >>> mixture([torch.zeros(2), torch.tensor([0.0, 1e3])]).exp()
    tensor([0.2500, 0.7500])
    """
    if len(logits) == 1:
        return logits[0]
    likely = torch.stack([one.log_softmax(dim) for one in logits])
    return likely.logsumexp(0) - math.log(len(logits))
