"""Exchanging memory for time: a step that is computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Step = Callable[..., tuple[Tensor, ...]]


def recomputed(step: Step, values: Sequence[Tensor], learned: Sequence[Tensor]) -> list[Tensor]:
    """``step(*values)``, of which nothing but ``values`` is kept for the backward pass.

    ``learned`` are the tensors outside of ``values`` that ``step`` reads and that shall have a
    gradient. The step may take gradients itself, and must not draw at random. (Torch's own
    checkpoint fails here: one kind on gradients within, the other on ``torch.autograd.grad``.)

    >>> rate = torch.tensor(3.0, requires_grad=True)
    >>> (y,) = recomputed(lambda x: (x * rate,), [torch.tensor(2.0)], [rate])
    >>> torch.autograd.grad(y, rate)[0]
    tensor(2.)
    """
    return list(_Recomputed.apply(step, len(values), *values, *learned))  # type: ignore[no-untyped-call]


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: Step, n_values: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.step, ctx.n_values = step, n_values
        ctx.save_for_backward(*tensors)
        ctx.device = device = tensors[0].device.type
        ctx.autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        return step(*(value.detach() for value in tensors[:n_values]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        enabled, kind = ctx.autocast
        with torch.enable_grad(), torch.autocast(ctx.device, kind, enabled=enabled):
            values = [value.detach().requires_grad_() for value in saved[: ctx.n_values]]
            outputs = ctx.step(*values)
        wanted = [*values, *saved[ctx.n_values :]]
        found = torch.autograd.grad(outputs, wanted, gradients, allow_unused=True)
        return (None, None, *found)
