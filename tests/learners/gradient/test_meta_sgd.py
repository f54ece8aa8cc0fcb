"""Meta-SGD against arithmetic, finite differences and a plain reimplementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.errors import SettingsError
from medmeta.learners import build_learner
from medmeta.learners.gradient.maml import MAML, MAMLConfig
from medmeta.learners.gradient.meta_sgd import MetaSGD, MetaSGDConfig
from medmeta.tasks import TaskMap, preferring
from tests.learners.gradient.tiny_tasks import (
    TARGET,
    assert_slopes_are_differences,
    episode,
    gradients_of,
    losses_on_the_way,
    network,
)


def tiny(**options: Any) -> MetaSGD:
    """Each weight has another rate, some of them negative."""
    config = MetaSGDConfig(**options)
    learner = MetaSGD(network(), config, target=TARGET, max_way=3, input_kind="vector")
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for rate in learner.rates.parameters():
            rate.copy_(torch.randn(rate.shape, generator=random, dtype=torch.float64) / 2)
    return learner


def test_one_step_by_hand() -> None:
    """Loss (2w - 3)² has gradient -12 at w = 0; its rate is 0.25, so w' = 3 and 2w' = 6."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    target = Target("values", 1)
    config = MetaSGDConfig(inner_rate=0.25)
    learner = MetaSGD(net, config, target=target, max_way=1, input_kind="vector")
    support = LabelledSet(torch.tensor([[[2.0]]]), torch.tensor([[[3.0]]]), torch.zeros(1))
    answer = learner.adapt(support, target)(torch.tensor([[[2.0]]]))
    assert float(answer.detach()) == pytest.approx(6.0)
    # 2w' = 2 · 12 α: its slope in the rate is 24, and in w it is 2 (1 - 8 α) = -2.
    found = gradients_of(learner, answer)
    assert [float(g) for g in found.values()] == pytest.approx([-2.0, 24.0])


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
@pytest.mark.parametrize("inner_checkpoint", [False, True])
@pytest.mark.parametrize("steps", [1, 2])
def test_loss_and_gradients_are_those_of_a_reimplementation(
    steps: int, inner_checkpoint: bool, task_map: TaskMap
) -> None:
    learner, tasks = tiny(inner_steps=steps, inner_checkpoint=inner_checkpoint), episode()
    rates = dict(learner.rates.of.items())
    wanted = losses_on_the_way(
        learner.network, tasks, lambda name, _: rates[name.replace(".", "/")], steps
    )[:, -1]
    with preferring(task_map):
        loss = learner.loss(tasks)
        found = gradients_of(learner, loss)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(found, gradients_of(learner, wanted), rtol=1e-9, atol=1e-12)
    assert all(bool(g.any()) for name, g in found.items() if name.startswith("rates."))


def test_gradients_are_those_of_finite_differences() -> None:
    assert_slopes_are_differences(tiny(inner_steps=2), episode(1))


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
def test_at_first_order_the_rates_still_learn(task_map: TaskMap) -> None:
    """One step: dL/dα = -∇L(θ) · ∇L'(θ') needs no second derivative, so it is the same."""
    tasks = episode()
    first, second = tiny(first_order=True), tiny()
    with preferring(task_map):
        one, other = (gradients_of(m, m.loss(tasks)) for m in (first, second))
    for name, gradient in one.items():
        same = torch.allclose(gradient, other[name], rtol=1e-9, atol=1e-12)
        assert same is name.startswith("rates.")


def test_it_begins_as_maml() -> None:
    config = MetaSGDConfig(inner_steps=2)
    learner = MetaSGD(network(), config, target=TARGET, max_way=3, input_kind="vector")
    maml = MAML(network(), MAMLConfig(inner_steps=2), target=TARGET, max_way=3, input_kind="vector")
    torch.testing.assert_close(learner.loss(episode()), maml.loss(episode()))


def test_running_statistics_are_refused() -> None:
    with pytest.raises(SettingsError, match="meta_sgd takes no encoder with running statistics"):
        build_learner("meta_sgd", {"encoder": {"norm": "running"}}, InputSpec(3, (16, 16)), TARGET)
