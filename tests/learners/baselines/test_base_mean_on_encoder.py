"""What a head has seen of the base classes is kept where the same head is put on its encoder."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from medmeta.app.assembling import with_head
from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learner import HeadedLearner
from medmeta.learners import build_learner
from tests.learners.normal_numbers import normal

SPEC, TARGET = InputSpec(1, (16, 16)), Target("classes", 3)


@pytest.mark.parametrize("name", ["simple_shot", "tim"])
def test_the_base_mean_goes_with_the_encoder(name: str) -> None:
    options = {"encoder": {"options": {"width": 4}}}
    learner = build_learner(name, options, SPEC, TARGET).train()
    labels = torch.tensor([[0, 1, 2, 0, 1, 2]])
    sets = [
        LabelledSet(normal(1, 6, 1, 16, 16, seed=seed).float(), labels, torch.zeros(1))
        for seed in (1, 2)
    ]
    for _ in range(3):
        learner.loss(Episode(*sets, TARGET))
    head = cast(HeadedLearner, with_head(learner, name, {}, SPEC, TARGET)).head
    held, own = dict(head.named_buffers()), dict(cast(HeadedLearner, learner).head.named_buffers())
    assert held["features.n_seen"] == 3
    torch.testing.assert_close(held["features.base_mean"], own["features.base_mean"])
    other = cast(HeadedLearner, with_head(learner, name, {"centre": "support"}, SPEC, TARGET))
    assert not list(other.head.named_buffers())
