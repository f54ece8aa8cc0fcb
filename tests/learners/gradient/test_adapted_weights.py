"""Which weights are adapted, whose they are afterwards, and what a trait says of first order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medmeta.check_tasks import TaskMaker
from medmeta.episode import InputSpec, Target, any_tensor
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from medmeta.learners.gradient._adapting import AdaptingLearner
from medmeta.learners.gradient.maml import MAML, MAMLConfig
from medmeta.learners.gradient.reptile import Moments

VECTOR, TARGET = InputSpec(4, ()), Target("classes", 3)
TASKS = TaskMaker(VECTOR, TARGET).episode(2, n_shot=2, n_query=2, seed=1)
ADAPTING: list[tuple[str, dict[str, Any]]] = [
    ("maml", {"inner_steps": 2}),
    ("maml", {"inner_steps": 2, "learn_rates": "per_layer_per_step"}),
    ("meta_sgd", {}),
    ("anil", {}),
    ("reptile", {}),
    ("reptile", {"inner_moments": "gathered"}),
    ("meta_lstm", {}),
    ("metal", {"inner_steps": 2}),
    ("leo", {}),
    ("fine_tuning", {}),
]
WITH_NO_STEPS = ["maml", "meta_sgd", "anil", "reptile", "meta_lstm", "metal"]


def built(name: str, options: dict[str, Any]) -> AbstractLearner:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh())
    return build_learner(name, options, VECTOR, TARGET, encoder=layers).eval()


def answers(learner: AbstractLearner, n_tasks: int) -> Tensor:
    tasks = TASKS.tasks(0, n_tasks)
    return learner.adapt(tasks.support, TARGET)(tasks.query.inputs).detach()


@pytest.mark.parametrize("n_tasks", [1, 2])
@pytest.mark.parametrize(("name", "options"), ADAPTING, ids=lambda given: str(given))
def test_learners_frozen_before_they_are_used_adapt_as_ever(
    name: str, options: dict[str, Any], n_tasks: int
) -> None:
    learner = built(name, options)
    wanted = answers(learner, n_tasks)
    torch.testing.assert_close(answers(learner.requires_grad_(False), n_tasks), wanted)


def test_what_is_frozen_when_the_learner_is_built_stays_as_it_is() -> None:
    """The gradient of the bias alone: thawed later, the weight is not adapted either."""
    net = nn.Linear(4, 3)
    net.weight.requires_grad_(False)
    learner = MAML(net, MAMLConfig(), target=TARGET, max_way=3, input_kind="vector")
    net.weight.requires_grad_(True)
    assert list(learner.adapted(TASKS.support, TARGET)) == ["bias"]


FROZEN = [
    ("meta_sgd", "rates", {"inner_steps": 2}),
    ("maml", "rates", {"inner_steps": 2, "learn_rates": "per_layer_per_step"}),
    ("meta_lstm", "rule", {}),
    ("metal", "meta_network", {"inner_steps": 2}),
]


@pytest.mark.parametrize(("name", "part", "options"), FROZEN, ids=lambda given: str(given))
def test_a_rule_that_is_frozen_has_no_gradient_with_a_checkpoint_either(
    name: str, part: str, options: dict[str, Any]
) -> None:
    found = []
    for checkpointed in (False, True):
        learner = built(name, {**options, "inner_checkpoint": checkpointed}).train()
        rule = getattr(learner, part).requires_grad_(False)
        learner.loss(TASKS).mean().backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is None for p in rule.parameters())
        assert isinstance(learner, AdaptingLearner)
        found.append([p.grad for p in learner.network.parameters()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n_tasks", [1, 2])
@pytest.mark.parametrize("name", WITH_NO_STEPS)
def test_a_predictor_of_no_steps_stays_when_the_learner_s_weights_move(
    name: str, n_tasks: int
) -> None:
    learner, tasks = built(name, {"test_steps": 0}), TASKS.tasks(0, n_tasks)
    queries = torch.randn(n_tasks, 3, 5) if name == "anil" else any_tensor(tasks.query.inputs)
    support = tasks.support
    if name == "anil":  # whose encoder is the learner's own at any time
        learner = learner.head  # type: ignore[assignment]
        support = support.with_inputs(torch.randn(n_tasks, 6, 5))
    with torch.no_grad():
        predictor = learner.adapt(support, TARGET)
        before = predictor(queries)
        for weight in learner.parameters():
            weight.add_(0.5)
        assert torch.equal(predictor(queries), before)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("name", ["maml", "meta_sgd", "anil", "metal"])
def test_the_trait_says_whether_answers_have_a_gradient_by_the_support(
    name: str, first_order: bool
) -> None:
    learner = built(name, {"first_order": first_order})
    learner = getattr(learner, "head", learner)
    size = 5 if name == "anil" else 4
    shown = torch.randn(2, 6, size, requires_grad=True)
    support = replace(TASKS.support, inputs=shown)
    found = learner.adapt(support, TARGET)(torch.randn(2, 3, size))
    (slope,) = torch.autograd.grad(found.square().sum(), shown, allow_unused=True)
    assert learner.traits.differentiable == (not first_order)
    assert (slope is not None and bool(slope.any())) == (not first_order)


def test_moments_of_weights_with_like_names_are_kept_apart() -> None:
    names = ["a.weight", "a_weight", "taken", "of.weight", "2.bias"]
    weights = {name: torch.zeros(size) for size, name in enumerate(names, start=1)}
    moments = Moments(weights)
    moments.gather({name: torch.full((2, len(w)), float(len(w))) for name, w in weights.items()}, 3)
    assert moments.of_weight["2.bias"] == "2_bias"  # as ordinary networks' were always called
    assert moments.of_weight["a.weight"] == "a_weight"
    for name, weight in weights.items():
        held = moments.get_buffer(moments.of_weight[name])
        assert held.tolist() == [len(weight)] * len(weight)
    assert float(moments.taken) == 3
