"""How much the loss after each inner step counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEAST = 0.03  # of what a step counted for at first, until the others count no more


class StepWeights(nn.Module):
    """A weight for the query's loss after each inner step; they sum to 1.

    With ``over`` they move in so many training steps, as in the authors' code, to the last: those
    of the other steps fall in a line, to no less than 3 % of what they were, and then to nothing
    (Antoniou, Edwards and Storkey 2019, section 4, multi-step loss).

    >>> weights = StepWeights((1.0, 1.0), over=4)
    >>> weights.advance()
    >>> weights.now()
    tensor([0.3750, 0.6250], dtype=torch.float64)
    """

    share: Tensor
    taken: Tensor

    def __init__(self, weights: Sequence[float], *, over: int | None = None) -> None:
        super().__init__()
        given = torch.tensor(weights, dtype=torch.float64)
        self.register_buffer("share", given / given.sum(), persistent=False)
        self.over = over
        if over is not None:
            self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    def now(self) -> Tensor:
        """The weights ``(steps,)``."""
        if self.over is None:
            return self.share
        kept = (1 - self.taken / self.over).clamp_min(LEAST) * (self.taken < self.over)
        others = self.share[:-1] * kept
        return torch.cat([others, (1 - others.sum())[None]])

    def advance(self) -> None:
        """A training step was made."""
        if self.over is not None:
            self.taken += 1
