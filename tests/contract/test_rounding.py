"""A gap that double precision closes is rounding; one that stays is a fault."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from medmeta.checks import check_learner
from medmeta.episode import Inputs, LabelledSet, Predictor, Target, any_tensor
from medmeta.errors import ContractError
from tests.contract.negative_controls import Honest


class Stepped(Honest):
    """Answers that jump by ``jump`` in single precision where there is more than one task."""

    def __init__(self, *, in_double_too: bool) -> None:
        super().__init__()
        self.in_double_too = in_double_too
        self.weight_of_type = nn.Parameter(torch.zeros(1))
        self.traits = replace(self.traits)

    def means(self, images: Tensor, labels: Tensor, n_way: int) -> Tensor:
        """Of the classes, in the images' precision."""
        return super().means(images.float(), labels, n_way).to(images.dtype)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """As the honest one does, and the jump."""
        predictor = super().adapt(support, target)
        tipped = self.weight_of_type.dtype == torch.float32 or self.in_double_too
        jump = 0.01 if tipped and support.n_tasks > 1 else 0.0

        def predict(inputs: Inputs) -> Tensor:
            steps = torch.arange(target.size, dtype=any_tensor(inputs).dtype)
            return predictor(inputs) + jump * steps + 0 * self.weight_of_type

        return predict


def test_what_only_single_precision_tips_passes() -> None:
    assert "one_task_at_a_time" in check_learner(Stepped(in_double_too=False))


def test_what_double_precision_does_not_mend_is_refused() -> None:
    with pytest.raises(ContractError, match="one_task_at_a_time"):
        check_learner(Stepped(in_double_too=True))
