"""What a step leaves in a learner's buffers: the same however its tasks are run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from medmeta.learner import AbstractLearner


class BufferChanges:
    """Gathers how the parts of a step change running statistics, moments and the like.

    Every part begins with what the step before left. After the step stands what its tasks would
    have left one by one, a mean over them; whole numbers, such as counts, change once. ``shown``
    are the buffers as the step begins, which nobody may change meanwhile.
    """

    def __init__(self, shown: list[Tensor]) -> None:
        self.shown = shown
        self.total = [torch.zeros_like(buffer) for buffer in shown]

    @torch.no_grad()
    def take(self, learner: AbstractLearner, share: float) -> None:
        """Note what a part with this share of the tasks has changed, and turn it back."""
        for buffer, before, total in zip(learner.buffers(), self.shown, self.total, strict=True):
            if buffer.is_floating_point():
                # Not every buffer is finite, and what nobody changed shall keep its bits.
                change = torch.where(buffer == before, torch.zeros_like(buffer), buffer - before)
                total.add_(change, alpha=share)
            elif buffer.dtype != torch.bool:
                total.copy_(buffer - before)
            buffer.copy_(before)

    @torch.no_grad()
    def leave(self, learner: AbstractLearner) -> None:
        """Change the learner's buffers by what was gathered, each worker's in turn."""
        for buffer, before, total in zip(learner.buffers(), self.shown, self.total, strict=True):
            if buffer.is_floating_point():
                buffer.add_(total)
            elif buffer.dtype != torch.bool:
                buffer.copy_(before + total)


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
        for buffer, known in zip(learner.buffers(), before, strict=True):
            buffer.copy_(known)
