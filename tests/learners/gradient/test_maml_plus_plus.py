"""What MAML++ adds to MAML: rates for each layer and step, and a loss after every step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medmeta.errors import SettingsError
from medmeta.learners import configuration
from medmeta.learners.gradient.maml import MAML, MAMLConfig
from medmeta.tasks import TaskMap, preferring
from tests.learners.gradient.tiny_tasks import (
    TARGET,
    assert_slopes_are_differences,
    episode,
    gradients_of,
    losses_on_the_way,
    network,
)

PER_STEP = {"learn_rates": "per_layer_per_step", "inner_steps": 3}


def tiny(**options: Any) -> MAML:
    """Every tensor of weights and every step has another rate, where rates are learned."""
    learner = MAML(network(), MAMLConfig(**options), target=TARGET, max_way=3, input_kind="vector")
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for rate in learner.rates.parameters() if learner.rates else ():
            rate.add_(torch.rand(rate.shape, generator=random, dtype=torch.float64))
    return learner


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
@pytest.mark.parametrize(
    "options", [{}, {"inner_checkpoint": True}, {"step_weights": (1.0, 0.0, 3.0)}], ids=str
)
def test_loss_and_gradients_are_those_of_a_reimplementation(
    options: dict[str, Any], task_map: TaskMap
) -> None:
    learner, tasks = tiny(**PER_STEP, **options), episode()
    assert learner.rates
    rates = dict(learner.rates.of.items())
    losses = losses_on_the_way(
        learner.network, tasks, lambda name, step: rates[name.replace(".", "/")][step], 3
    )
    wanted = losses[:, 2]
    if "step_weights" in options:
        wanted = losses[:, 0] / 4 + losses[:, 2] * 3 / 4
    with preferring(task_map):
        loss = learner.loss(tasks)
        found = gradients_of(learner, loss)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(found, gradients_of(learner, wanted), rtol=1e-9, atol=1e-12)


def test_there_is_one_rate_for_each_tensor_and_step() -> None:
    learner = MAML(network(), MAMLConfig(**PER_STEP), target=TARGET, max_way=3)
    assert learner.rates
    assert [rate.tolist() for rate in learner.rates.parameters()] == [[0.4] * 3] * 4


def test_gradients_are_those_of_finite_differences() -> None:
    assert_slopes_are_differences(tiny(**PER_STEP, step_weights=(1, 2, 3)), episode(1))


def test_steps_beyond_those_trained_use_the_last_rate() -> None:
    learner, tasks = tiny(**PER_STEP, test_steps=5).eval(), episode()
    assert learner.rates
    rates = dict(learner.rates.of.items())
    wanted = losses_on_the_way(
        learner.network, tasks, lambda name, k: rates[name.replace(".", "/")][min(k, 2)], 5
    )
    torch.testing.assert_close(learner.loss(tasks), wanted[:, -1])


def test_all_weight_on_the_last_step_is_maml() -> None:
    one, other = tiny(inner_steps=2, step_weights=(0, 5)), tiny(inner_steps=2)
    torch.testing.assert_close(one.loss(episode()), other.loss(episode()))


def authors_weights(steps: int, done: int, over: int) -> list[float]:
    """What the authors' code gives the loss after each of its inner steps."""
    if done >= over:  # it then takes the last loss alone
        return [0.0] * (steps - 1) + [1.0]
    fall, least = 1 / steps / over, 0.03 / steps
    others = [max(1 / steps - done * fall, least)] * (steps - 1)
    return [*others, min(1 / steps + done * (steps - 1) * fall, 1 - (steps - 1) * least)]


def test_weights_move_to_the_last_step_as_in_the_authors_code() -> None:
    learner, tasks = tiny(inner_steps=3, step_weights=(1, 1, 1), anneal_steps=40).train(), episode()
    losses = losses_on_the_way(learner.network, tasks, lambda *_: 0.4, 3)
    for done in range(43):
        wanted = losses @ losses.new_tensor(authors_weights(3, done, 40))
        torch.testing.assert_close(learner.loss(tasks), wanted)
    before = learner.state_dict()["step_weights.taken"].clone()
    learner.eval().loss(tasks)
    assert learner.state_dict()["step_weights.taken"] == before == 43


def test_without_options_nothing_is_added_to_the_state() -> None:
    assert all(name.startswith("network.") for name in tiny().state_dict())


def test_weights_are_read_from_a_text() -> None:
    config = configuration("maml", {"inner_steps": "2", "step_weights": "1, 0.5"})
    assert isinstance(config, MAMLConfig)
    assert config.step_weights == (1.0, 0.5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"inner_steps": 2, "step_weights": (1, 1, 1)}, "3 weights for 2 inner_steps"),
        ({"inner_steps": 2, "step_weights": (-1, 2)}, "not negative"),
        ({"inner_steps": 2, "step_weights": (0, 0)}, "not all zero"),
        ({"inner_steps": 2, "step_weights": "1,x"}, "valid number"),
        (
            {"inner_steps": 2, "inner_checkpoint": True, "step_weights": (1, 1)},
            "cannot be had with inner_checkpoint",
        ),
        ({"inner_steps": 2, "anneal_steps": 10}, "no step_weights to move"),
    ],
)
def test_weights_that_do_not_fit_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(
        SettingsError, match=f"learner maml: (step_weights|anneal_steps).*{complaint}"
    ):
        configuration("maml", options)
