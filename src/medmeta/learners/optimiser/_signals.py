"""What learned optimisers read: numbers of very different sizes, made comparable."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_and_sign(numbers: Tensor, log_range: float) -> Tensor:
    """Size and sign of numbers ``(...)`` that differ by orders of magnitude: ``(..., 2)``.

    ``(log|x| / p, sign x)`` where ``|x| ≥ e^-p``, else ``(-1, e^p x)``, with p ``log_range``:
    Andrychowicz et al. 2016, appendix A.

    >>> log_and_sign(torch.tensor([1.0, -math.exp(-3.5), 0.0]), 7.0)
    tensor([[ 0.0000,  1.0000],
            [-0.5000, -1.0000],
            [-1.0000,  0.0000]])
    """
    size = numbers.abs().clamp(min=math.exp(-log_range)).log() / log_range
    return torch.stack([size, (numbers * math.exp(log_range)).clamp(-1, 1)], dim=-1)
