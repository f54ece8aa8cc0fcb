"""Exchanging memory for time: a step that is computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import TorchDispatchMode

Step = Callable[..., tuple[Tensor, ...]]


def recomputed(step: Step, values: Sequence[Tensor], learned: Sequence[Tensor]) -> list[Tensor]:
    """``step(*values)``, of which nothing but ``values`` is kept for the backward pass.

    ``learned`` are the tensors outside of ``values`` that ``step`` reads; those that require a
    gradient get one. The step may take gradients itself. What it draws at random by torch (dropout)
    is drawn again alike, except while a GPU records: a step that draws then raises
    ``RuntimeError``. (Torch's own checkpoint fails here: one kind on gradients within, the other on
    ``torch.autograd.grad``.)

    >>> rate = torch.tensor(3.0, requires_grad=True)
    >>> (y,) = recomputed(lambda x: (x * rate,), [torch.tensor(2.0)], [rate])
    >>> torch.autograd.grad(y, rate)[0]
    tensor(2.)
    """
    learned = [tensor for tensor in learned if tensor.requires_grad]
    return list(_Recomputed.apply(step, len(values), *values, *learned))  # type: ignore[no-untyped-call]


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: Step, n_values: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.step, ctx.n_values = step, n_values
        ctx.save_for_backward(*tensors)
        ctx.device = tensors[0].device
        kind = ctx.device.type
        ctx.autocast = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        ctx.recorded = kind == "cuda" and torch.cuda.is_current_stream_capturing()
        # A recording has no place where chance stands, only how far it is from where it is played.
        ctx.chance = [] if ctx.recorded else _states(ctx.device)
        with DrawsNothing() if ctx.recorded else nullcontext():
            return step(*(value.detach() for value in tensors[:n_values]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        enabled, kind = ctx.autocast
        devices = [ctx.device] if ctx.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices, enabled=not ctx.recorded),
            torch.enable_grad(),
            torch.autocast(ctx.device.type, kind, enabled=enabled),
        ):
            for where, state in zip(("cpu", *devices), ctx.chance, strict=not ctx.recorded):
                _set_state(where, state)
            values = [value.detach().requires_grad_() for value in saved[: ctx.n_values]]
            outputs = ctx.step(*values)
        wanted = [*values, *saved[ctx.n_values :]]
        found = torch.autograd.grad(outputs, wanted, gradients, allow_unused=True)
        return (None, None, *found)


class DrawsNothing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises ``RuntimeError`` where an operation draws at random."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it, or say what it is."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            name = func.overloadpacket.__name__
            raise RuntimeError(f"{name} draws at random in a step that is computed again.")
        return func(*args, **(kwargs or {}))


def _states(device: torch.device) -> list[Tensor]:
    """Where chance stands on the processor, and on a GPU."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_state(device: torch.device | str, state: Tensor) -> None:
    if device == "cpu":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)
