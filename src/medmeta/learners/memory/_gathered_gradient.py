"""The gradient of a recurrent weight, of all steps in one product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def with_gradient_of_all_steps(gates: Tensor, weight: Tensor, seen: list[Tensor]) -> Tensor:
    """``gates`` ``(B, L, G)`` as they are, whose gradient also makes that of ``weight``.

    ``weight`` ``(G, F)`` is used in each step on what is put in ``seen`` ``(B, F)``, where it must
    count as a constant. Step by step its gradient would be a sum of as many whole matrices.

    >>> weight, seen = torch.ones(1, 1, requires_grad=True), []
    >>> for gate in with_gradient_of_all_steps(torch.zeros(1, 2, 1), weight, seen).unbind(1):
    ...     seen.append(torch.full((1, 1), 3.0))
    ...     total = gate + seen[-1] @ weight.detach().mT
    >>> torch.autograd.grad(total.sum(), weight)[0]
    tensor([[3.]])
    """
    gathered: Tensor = _GatheredGradient.apply(gates, weight, seen)  # type: ignore[no-untyped-call]
    return gathered


class _GatheredGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, seen: list[Tensor]) -> Tensor:
        ctx.seen = seen  # filled by the time the gradient is asked for
        return gates.view_as(gates)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        states = torch.stack(ctx.seen, dim=1)
        return slopes, slopes.flatten(0, 1).mT @ states.flatten(0, 1), None
