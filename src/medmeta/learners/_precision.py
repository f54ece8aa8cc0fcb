"""How precisely a task is solved: single precision, or double where it was given."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(numbers: Tensor) -> Tensor:
    """Half precision and integers as single; single and double as they are.

    >>> at_least_single(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    >>> at_least_single(torch.zeros(1, dtype=torch.float64)).dtype
    torch.float64
    """
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))
