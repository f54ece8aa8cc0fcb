"""ANIL against MAML that may move its last layer only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medmeta.episode import Episode, InputSpec
from medmeta.learners import EmbeddingLearner, build_learner
from medmeta.tasks import TaskMap, preferring
from tests.learners.gradient.tiny_tasks import (
    TARGET,
    assert_slopes_are_differences,
    episode,
    gradients_of,
    losses_on_the_way,
    network,
    task,
)

IMAGE = InputSpec(3, (16, 16))


def tiny(**options: Any) -> tuple[EmbeddingLearner, nn.Sequential]:
    """A learner, and the same weights as one plain network."""
    net = network()
    encoder = net[:2].float()
    learner = build_learner("anil", options, InputSpec(4, ()), TARGET, encoder=encoder).double()
    assert isinstance(learner, EmbeddingLearner)
    last = learner.head.get_submodule("network")
    last.load_state_dict(net[2].state_dict())
    return learner, nn.Sequential(net[0], net[1], last)


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
@pytest.mark.parametrize("inner_checkpoint", [False, True])
def test_only_the_last_layer_moves_and_all_weights_learn(
    inner_checkpoint: bool, task_map: TaskMap
) -> None:
    learner, net = tiny(inner_rate=0.5, inner_steps=3, inner_checkpoint=inner_checkpoint)
    tasks = episode()
    wanted = losses_on_the_way(net, tasks, lambda *_: 0.5, 3, adapted="2.")[:, -1]
    with preferring(task_map):
        loss = learner.loss(tasks)
        found = gradients_of(learner, loss)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(found, gradients_of(learner, wanted), rtol=1e-9, atol=1e-12)
    assert all(bool(g.any()) for g in found.values())


def test_gradients_are_those_of_finite_differences() -> None:
    assert_slopes_are_differences(tiny(inner_rate=0.8, inner_steps=2)[0], episode(1))


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
def test_at_first_order_the_encoder_learns_from_the_query_alone(task_map: TaskMap) -> None:
    """The steps count as constants, so the start moves as the end, and the support is constant."""
    learner, net = tiny(inner_rate=0.5, inner_steps=1, first_order=True)
    tasks = episode(1)
    with preferring(task_map):
        found = gradients_of(learner, learner.loss(tasks))
    moved = gradients_at_the_adapted_layer(net, tasks)
    for one, other in zip(found.values(), moved, strict=True):
        torch.testing.assert_close(one, other)


def gradients_at_the_adapted_layer(net: nn.Sequential, tasks: Episode) -> list[Tensor]:
    """Of the query's loss, after one step of the last layer at rate 0.5."""
    cross_entropy = nn.functional.cross_entropy
    (images, labels), (queries, answers) = task(tasks.support, 0), task(tasks.query, 0)
    loss = cross_entropy(net(images), labels)
    steps = torch.autograd.grad(loss, list(net[2].parameters()))
    with torch.no_grad():
        for parameter, step in zip(net[2].parameters(), steps, strict=True):
            parameter -= 0.5 * step
    loss = cross_entropy(net(queries), answers)
    return list(torch.autograd.grad(loss, list(net.parameters())))


def test_each_image_is_encoded_once_whatever_the_steps() -> None:
    seen = []

    class Counted(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return images.flatten(1)

    vector = InputSpec(4, ())
    learner = build_learner("anil", {"inner_steps": 7}, vector, TARGET, encoder=Counted())
    seen.clear()
    learner.double().loss(episode())
    assert seen == [2 * (6 + 5)]


@pytest.mark.parametrize(("norm", "alone"), [("group", True), ("batch", True), ("running", False)])
def test_running_statistics_are_taken_but_join_the_tasks(norm: str, alone: bool) -> None:
    encoder = {"norm": norm, "options": {"width": 4}}
    learner = build_learner("anil", {"encoder": encoder}, IMAGE, TARGET)
    assert learner.traits.maps_tasks is alone
    assert learner.traits.transductive is (norm == "batch")
