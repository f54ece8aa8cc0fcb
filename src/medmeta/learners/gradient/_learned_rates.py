"""Inner rates that are learned across tasks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medmeta.learners._inner_loop import Weights


class LearnedRates(nn.Module):
    """An inner rate for each weight, or for each tensor of weights and step.

    All begin at ``rate``. ``steps`` None: one for each entry (Li et al. 2017, equation 2:
    ``θ' = θ - α ∘ ∇L``). Otherwise one for each tensor of weights and each of ``steps`` steps
    (Antoniou, Edwards and Storkey 2019, section 4); steps beyond use the last.

    >>> rates = LearnedRates({"x": torch.tensor([8.0, 4.0])}, 0.5)
    >>> rates.update({"x": torch.tensor([8.0, 4.0])}, {"x": torch.tensor([2.0, 4.0])}, 0)["x"]
    tensor([7., 2.], grad_fn=<SubBackward0>)
    """

    def __init__(
        self, weights: Mapping[str, Tensor], rate: float, *, steps: int | None = None
    ) -> None:
        super().__init__()
        self.steps = steps
        self.of = nn.ParameterDict()
        for name, weight in weights.items():  # one by one: from a dict it would sort them
            rates = (
                torch.full_like(weight, rate) if steps is None else weight.new_full((steps,), rate)
            )
            self.of[_key(name)] = nn.Parameter(rates)

    def update(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``w - α ∘ g`` with the rates ``α`` of this step."""
        return {
            name: weight - self._rate(name, step) * gradients[name]
            for name, weight in weights.items()
        }

    def _rate(self, name: str, step: int) -> Tensor:
        rate: Tensor = self.of[_key(name)]
        return rate if self.steps is None else rate[min(step, self.steps - 1)]


def _key(name: str) -> str:
    return name.replace(".", "/")  # torch allows no dot in the name of a parameter
