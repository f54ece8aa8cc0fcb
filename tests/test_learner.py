"""Losses of tasks and the refusal of tasks that a learner does not take."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from medmeta.episode import InputSpec, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learner import Traits, check_input_fits, check_task_fits
from medmeta.mask_loss import soft_dice_loss
from medmeta.task_loss import task_loss
from tests.contract.negative_controls import Honest


def test_cross_entropy_is_a_mean_within_each_task() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    labels = torch.tensor([[1, 0], [0, 1]])
    found = task_loss(logits, labels, Target("classes", 2))
    wanted = [(math.log(4 / 3) + math.log(2)) / 2, math.log(2)]
    assert found.tolist() == pytest.approx(wanted)


def test_squared_error_is_a_mean_over_images_and_values() -> None:
    answers, labels = torch.zeros(1, 2, 2), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert task_loss(answers, labels, Target("values", 2)).tolist() == [30 / 4]


def test_masks_count_only_labelled_pixels() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 5, generator=random)
    labels = torch.randint(-1, 4, (2, 3, 5, 5), generator=random)
    found = task_loss(logits, labels, Target("masks", 4))
    for t in range(2):
        dice = soft_dice_loss(logits[t], labels[t]).mean()  # held against MONAI's elsewhere
        wanted = F.cross_entropy(logits[t], labels[t], ignore_index=-1) + dice
        assert float(found[t]) == pytest.approx(float(wanted), rel=1e-5)
    assert task_loss(logits, torch.full_like(labels, -1), Target("masks", 4)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_the_loss_is_at_least_single_precision(given: torch.dtype, found: torch.dtype) -> None:
    logits, labels = torch.zeros(1, 1, 2, dtype=given), torch.zeros(1, 1, dtype=torch.long)
    assert task_loss(logits, labels, Target("classes", 2)).dtype == found


@pytest.mark.parametrize(
    ("traits", "target", "complaint"),
    [
        (Traits(), Target("values", 1), "Honest takes classes, not values"),
        (Traits(), Target("classes", 1), "at least two classes"),
        (Traits(max_way=3), Target("classes", 4), "at most 3 classes.*has 4.*max_way=4"),
    ],
)
def test_tasks_that_do_not_fit_are_refused(traits: Traits, target: Target, complaint: str) -> None:
    learner = Honest()
    learner.traits = traits
    with pytest.raises(UnsupportedTaskError, match=complaint):
        check_task_fits(learner, target)


def test_tasks_that_fit_are_taken() -> None:
    learner = Honest()
    learner.traits = Traits(max_way=3, targets=frozenset({"classes", "values"}))
    check_task_fits(learner, Target("classes", 3))
    check_task_fits(learner, Target("values", 1))


def test_inputs_of_another_kind_are_refused() -> None:
    check_input_fits(Traits(), InputSpec(1, (8, 8)), name="maml")
    with pytest.raises(UnsupportedTaskError, match="maml takes inputs of kind image, not volume"):
        check_input_fits(Traits(), InputSpec(1, (8, 8, 8)), name="maml")
