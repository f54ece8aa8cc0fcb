"""The focal loss as an option of learners of masks."""

from __future__ import annotations

import pytest
import torch

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learner import task_loss
from medmeta.learners import build_learner

SMALL = {
    "conditioned_unet": {"width": 4, "levels": 1, "random_features": 4},
    "prototype_masks": {"alignment": 0.0, "encoder": {"options": {"width": 4}}},
    "tuned_unet": {"test_steps": 1, "encoder": {"options": {"width": 4}}},
}


def episode(seed: int = 0) -> Episode:
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(1, 4, 1, 16, 16, generator=random)
    labels = (images[:, :, 0] > 0.5).long()
    support = LabelledSet(images[:, :2], labels[:, :2], torch.tensor([0]))
    query = LabelledSet(images[:, 2:], labels[:, 2:], torch.tensor([0]))
    return Episode(support, query, Target("masks", 2))


@pytest.mark.parametrize("name", SMALL)
def test_what_is_right_already_counts_less(name: str) -> None:
    losses = {}
    for focal in (0.0, 2.0):
        torch.manual_seed(0)
        options = {**SMALL[name], "focal": focal}
        learner = build_learner(name, options, InputSpec(1, (16, 16)), Target("masks", 2)).eval()
        losses[focal] = learner.loss(episode())
        if name != "tuned_unet":  # which is trained on support and query together
            answers = learner.adapt(episode().support, Target("masks", 2))(episode().query.inputs)
            labels = episode().query.labels
            wanted = task_loss(answers, labels, Target("masks", 2), focal=focal)
            torch.testing.assert_close(losses[focal], wanted)
    assert losses[2.0] < losses[0.0]


def test_a_power_below_one_has_a_slope_where_an_answer_is_certain() -> None:
    logits = torch.tensor([30.0, -30.0]).reshape(1, 1, 2, 1, 1).requires_grad_()
    for label in (0, 1):
        labels = torch.full((1, 1, 1, 1), label)
        loss = task_loss(logits, labels, Target("masks", 2), focal=0.5)
        (slope,) = torch.autograd.grad(loss.sum(), logits)
        assert torch.isfinite(slope).all()


def test_a_structure_without_a_prototype_costs_nothing() -> None:
    """It cannot be answered: neither where the support lacks it, nor on the way back."""
    options = {"encoder": {"options": {"width": 4}}, "grid": 1}
    torch.manual_seed(0)
    learner = build_learner("prototype_masks", options, InputSpec(1, (16, 16)), Target("masks", 3))
    made = episode()
    lacking = Episode(made.support, made.query, Target("masks", 3))  # nobody marks 2
    assert learner.loss(lacking).item() < 20
    marked = made.query.labels.clone()
    marked[0, 0, :4] = 2  # and here only the query does
    query = LabelledSet(made.query.inputs, marked, made.query.task_ids)
    assert learner.loss(Episode(made.support, query, Target("masks", 3))).item() < 20
