"""Linear systems with one block per class and a common multiplier per image."""

from __future__ import annotations

import torch
from torch import Tensor


def solve_class_blocks(kernel: Tensor, root: Tensor, diagonal: Tensor, right: Tensor) -> Tensor:
    """``E_k (r_k - ν)`` for each class k, with ν such that these add to 0 over the classes.

    ``E_k = M_k (M_k K M_k + R_k)⁻¹ M_k``, where M_k and R_k are diagonal matrices of column k of
    ``root`` and ``diagonal``. ``kernel`` K ``(T, S, S)``, all others ``(T, S, N)``. Rasmussen and
    Williams 2006, algorithm 3.3: N + 1 systems of size S, never one of size S·N.

    >>> ones = torch.ones(1, 1, 2)
    >>> solve_class_blocks(torch.ones(1, 1, 1), ones, ones, torch.tensor([[[3.0, 1.0]]]))
    tensor([[[ 0.5000, -0.5000]]])
    """
    root = root.mT[..., None]
    blocks = root * kernel[:, None] * root.mT + torch.diag_embed(diagonal.mT)
    factor = torch.linalg.cholesky(blocks)
    half = torch.linalg.solve_triangular(factor, torch.diag_embed(root[..., 0]), upper=False)
    inverses = half.mT @ half  # E_k, (T, N, S, S)
    answers = inverses @ right.mT[..., None]
    common = torch.linalg.cholesky(inverses.sum(1))
    multiplier = torch.cholesky_solve(answers.sum(1), common)
    solved: Tensor = answers - inverses @ multiplier[:, None]
    return solved[..., 0].mT


def solving_precision(numbers: Tensor) -> Tensor:
    """As double, in which weak penalties keep their digits (single on Apple's GPU, without it).

    >>> solving_precision(torch.zeros(1)).dtype
    torch.float64
    """
    return numbers if numbers.device.type == "mps" else numbers.double()
