"""Both sides of a comparison start from one network and do one work."""

from __future__ import annotations

import sys

import pytest
import torch

import peers
from medmeta.tasks import preferring
from medmeta.training.step import StepGradient
from medmeta.training.task_plan import TaskPlan
from speed_rows.maml_peers import STEPS
from speed_rows.networks import (
    gradient_learner,
    headed_learner,
    plain_encoder,
    plain_maml_network,
)
from speed_rows.ours import fingerprint
from speed_rows.pictures import seeded_episode


def test_plain_maml_network_answers_as_ours() -> None:
    learner = gradient_learner("maml", 3)
    network = plain_maml_network(learner)
    images = torch.randn(6, 1, 28, 28)
    expected = learner.get_submodule("network")(images)
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("training", [True, False])
def test_plain_encoder_embeds_as_ours(training: bool) -> None:
    learner = headed_learner("prototypical", 3, 3, 32)
    plain = plain_encoder(learner, 3).train(training)
    images = torch.randn(4, 3, 32, 32)
    expected = learner.get_submodule("encoder").train(training)(images)
    torch.testing.assert_close(plain(images), expected)


def test_another_seed_is_another_network() -> None:
    images = torch.randn(2, 1, 28, 28)
    one, other = (plain_maml_network(gradient_learner("maml", seed))(images) for seed in (0, 1))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(("name", "peer"), sorted(STEPS))
@pytest.mark.filterwarnings("ignore")  # old libraries on a new torch
def test_peers_compute_our_meta_gradient(
    name: str, peer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the library is installed: the same loss and gradient from the same tasks."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # libraries leave it as they found it
    episode = seeded_episode(1, 2, 5, 1, 2, (1, 28, 28))
    learner = gradient_learner(name, 0, inner_steps=2)
    try:
        step = STEPS[name, peer](plain_maml_network(learner), 0.4, 2, first_order=False)
    except peers.PeerMissingError as error:
        pytest.skip(str(error))
    theirs = fingerprint(step.gradients(episode), (p.grad for p in step.parameters()))
    with StepGradient(learner, TaskPlan("loop", 1, 1)) as gradient, preferring("loop"):
        ours = fingerprint(gradient(episode), (p.grad for p in learner.parameters()))
    assert theirs == pytest.approx(ours, rel=1e-4)


def test_fingerprint_knows_direction_and_length() -> None:
    up, down = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
    one, other = fingerprint(0.5, iter([up])), fingerprint(0.5, iter([down]))
    assert one[:2] == pytest.approx([0.5, 5**0.5])
    assert one[1] == pytest.approx(other[1])
    assert one[2] != pytest.approx(other[2])
