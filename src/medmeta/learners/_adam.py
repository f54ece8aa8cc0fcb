"""Adam without momentum for the steps of one task, on weights that are values."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from medmeta.learners._inner_loop import Weights


class TaskAdam:
    """An ``Update``: Adam (Kingma and Ba 2015, algorithm 1) with β1 = 0.

    It holds one task's second moments, ``squares``, which begin at zero or at those given together
    with how many steps they are ``taken`` from.
    """

    def __init__(
        self,
        rate: float,
        squares: Mapping[str, Tensor] | None = None,
        taken: Tensor | int = 0,
        *,
        decay: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        self.rate, self.decay, self.eps = rate, decay, eps
        self.squares: Weights = dict(squares or {})
        self.taken = taken

    def __call__(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """The next weights; ``step`` is of no account."""
        self.taken = self.taken + 1
        after, known = {}, self._known()
        for name, weight in weights.items():
            new = (1 - self.decay) * gradients[name].square()
            held = self.squares.get(name)
            self.squares[name] = new if held is None else self.decay * held + new
            size = (self.squares[name] / known).sqrt()
            after[name] = weight - self.rate * gradients[name] / (size + self.eps)
        return after

    def _known(self) -> Tensor | float:
        """``1 - decay ** taken``, which starts at a thousandth: to all digits in 32 bits too."""
        exponent = self.taken * math.log(self.decay)
        return -torch.expm1(exponent) if isinstance(exponent, Tensor) else -math.expm1(exponent)
