"""What a step leaves in a learner's buffers: the same however its tasks are run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from medmeta.learner import AbstractLearner


class BufferChanges:
    """Gathers how the parts of a step change running statistics, moments and the like.

    Every part begins with what the step before left. After the step stands what its tasks would
    have left one by one, a mean over them; whole numbers, such as counts, change once, and what is
    true or false changes where any part changes it. ``shown`` are the buffers as the step begins,
    which nobody may change meanwhile.
    """

    def __init__(self, shown: list[Tensor]) -> None:
        self.shown = shown
        self.total = [torch.zeros_like(buffer) for buffer in shown]

    @torch.no_grad()
    def take(self, learner: AbstractLearner, share: float) -> None:
        """Note what a part with this share of the tasks has changed, and turn it back."""
        for buffer, before, total in zip(learner.buffers(), self.shown, self.total, strict=True):
            if buffer.dtype == torch.bool:
                total.logical_or_(buffer != before)
            elif _has_a_mean(buffer):
                # A change keeps the bits of what nobody changed; from infinity there is none.
                change = torch.where(buffer == before, torch.zeros_like(buffer), buffer - before)
                total.add_(torch.where(torch.isfinite(before), change, buffer), alpha=share)
            else:
                total.copy_(buffer - before)
            buffer.copy_(before)


@torch.no_grad()
def leave(changes: Sequence[BufferChanges], learner: AbstractLearner) -> None:
    """Change the learner's buffers by what all the parts of a step gathered."""
    for number, buffer in enumerate(learner.buffers()):
        before, totals = changes[0].shown[number], [one.total[number] for one in changes]
        if buffer.dtype == torch.bool:
            buffer.copy_(before ^ torch.stack(totals).any(0))
        elif _has_a_mean(buffer):
            total = torch.stack(totals).sum(0)
            buffer.copy_(torch.where(torch.isfinite(before), before + total, total))
        else:
            buffer.copy_(before + totals[0])


def _has_a_mean(buffer: Tensor) -> bool:
    return buffer.is_floating_point() or buffer.is_complex()


def copied_buffers(learner: AbstractLearner) -> list[Tensor]:
    """The buffers as they are now."""
    return [buffer.detach().clone() for buffer in learner.buffers()]


@contextmanager
def buffers_kept(learner: AbstractLearner) -> Iterator[None]:
    """Running statistics and the like afterwards as before: to try something is no step."""
    before = copied_buffers(learner)
    try:
        yield
    finally:
        put_back(before, learner)


@torch.no_grad()
def put_back(before: Sequence[Tensor], learner: AbstractLearner) -> None:
    """Make the buffers what they were."""
    for buffer, known in zip(learner.buffers(), before, strict=True):
        buffer.copy_(known)
