"""Values in any unit: answers follow an affine change of the labels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.learners import LEARNERS, StandardisedValues, build_head, build_learner
from medmeta.learners.heads.ridge import RidgeConfig, RidgeHead
from medmeta.learners.standardised import ValueScale
from tests.learners.few import FEW

SPEC, TARGET = InputSpec(1, (16, 16)), Target("values", 2)
random = torch.Generator().manual_seed(0)
IMAGES = torch.randn(2, 6, 1, 16, 16, generator=random)
QUERIES = torch.randn(2, 3, 1, 16, 16, generator=random)
LABELS = torch.randn(2, 6, 2, generator=random)
OPTIONS = {"encoder": {"options": {"width": 4}}}


def takes_values(name: str) -> bool:
    try:
        return "values" in build_learner(name, OPTIONS, SPEC, TARGET).traits.targets
    except UnsupportedTaskError:
        return False


OF_VALUES = [name for name in LEARNERS if takes_values(name)]


def make(name: str) -> AbstractLearner:
    torch.manual_seed(0)
    return build_learner(name, FEW.get(name, {}) | OPTIONS, SPEC, TARGET).eval()


def answers(learner: AbstractLearner, labels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return learner.adapt(LabelledSet(IMAGES, labels, torch.zeros(2)), TARGET)(QUERIES)


@pytest.mark.parametrize("name", OF_VALUES)
@given(factor=st.floats(1e-6, 1e6), shift=st.floats(-100, 100))
@settings(max_examples=8)
def test_answers_follow_an_affine_change_of_the_values(
    name: str, factor: float, shift: float
) -> None:
    learner = make(name)
    plain = answers(learner, LABELS)
    changed = answers(learner, factor * LABELS + factor * shift)
    torch.testing.assert_close(changed / factor - shift, plain, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", OF_VALUES)
def test_the_loss_is_in_units_of_the_support_s_spread(name: str) -> None:
    learner = make(name)
    losses = []
    for unit in (1.0, 1000.0):
        support = LabelledSet(IMAGES, unit * LABELS, torch.zeros(2))
        query = LabelledSet(QUERIES, unit * LABELS[:, :3], torch.zeros(2))
        losses.append(learner.loss(Episode(support, query, TARGET)))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-4)


def test_mean_and_spread_by_hand() -> None:
    labels = torch.tensor([[[1.0], [3.0]], [[5.0], [5.0]]])
    scale = ValueScale.of(LabelledSet(torch.zeros(2, 2, 1), labels, torch.zeros(2)))
    assert scale.mean.flatten().tolist() == [2.0, 5.0]
    assert scale.spread.flatten().tolist() == [1.0, 1.0]  # no spread at all counts as one


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e6, 1e-8])
def test_a_support_of_one_value_gives_that_value(constant: float) -> None:
    learner = StandardisedValues(RidgeHead(RidgeConfig()))
    labels = torch.full((1, 3, 1), constant)
    images = IMAGES[:1, :3].flatten(2)
    predictor = learner.adapt(LabelledSet(images, labels, torch.zeros(1)), Target("values", 1))
    assert predictor(images).flatten().tolist() == pytest.approx([constant] * 3, rel=1e-6)


def test_tiny_units_have_a_spread_too() -> None:
    labels = torch.tensor([[[1e-9], [3e-9]]])
    scale = ValueScale.of(LabelledSet(torch.zeros(1, 2, 1), labels, torch.zeros(1)))
    assert float(scale.spread) == pytest.approx(1e-9)


def test_heads_of_values_are_standardised_and_those_of_classes_are_not() -> None:
    head = build_head("ridge", None, InputSpec(8, ()), Target("values", 1))
    assert isinstance(head, StandardisedValues)
    assert isinstance(build_head("ridge", None, InputSpec(8, ()), Target("classes", 2)), RidgeHead)
