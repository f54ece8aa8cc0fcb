"""A choice among some settings that is learned across tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARPNESS = 10.0  # so that a choice is made in hundreds of training steps, not in thousands


class Choice(nn.Module):
    """Which of ``count`` settings is best, learned by the expected loss over all of them.

    The expectation is over ``softmax(10 · preferences)``: its gradient moves weight to the settings
    whose loss is below the mean. Adapting takes the likeliest. At first that is ``first``.

    >>> choice = Choice(3, first=2)
    >>> choice.best
    2
    """

    def __init__(self, count: int, *, first: int) -> None:
        super().__init__()
        start = torch.zeros(count)
        start[first] = 1 / SHARPNESS
        self.preferences = nn.Parameter(start)

    @property
    def best(self) -> int:
        """Number of the likeliest setting."""
        return int(self.preferences.argmax())

    def shares(self) -> Tensor:
        """Probability of each setting, ``(count,)``."""
        return (SHARPNESS * self.preferences).softmax(0)

    def expected(self, losses: Tensor) -> Tensor:
        """Losses ``(T, count)`` of each task under each setting to ``(T,)``."""
        return losses @ self.shares().to(losses)
