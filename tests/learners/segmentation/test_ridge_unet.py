"""A U-Net whose last layer is solved on the support, and its mean with the conditioned one."""

from __future__ import annotations

import pytest
import torch

from medmeta.data.synthetic_structures import synthetic_structures
from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.learner import AbstractLearner, task_loss
from medmeta.learners import build_learner

SPEC, TARGET = InputSpec(1, (16, 16)), Target("masks", 2)
SMALL = {"encoder": {"options": {"width": 4, "levels": 1}}}


def built(name: str = "ridge_unet", **options: object) -> AbstractLearner:
    torch.manual_seed(0)
    return build_learner(name, {**SMALL, **options}, SPEC, TARGET).eval()


def support(n: int = 3) -> LabelledSet:
    random = torch.Generator().manual_seed(1)
    images = torch.randn(2, n, 1, 16, 16, generator=random)
    blurred = torch.nn.functional.avg_pool2d(images.flatten(0, 1), 5, 1, 2).reshape(images.shape)
    return LabelledSet(images, (blurred[:, :, 0] > 0.05).long(), torch.tensor([4, 9]))


def test_where_the_network_says_nothing_it_is_ridge_on_filters() -> None:
    learner = built(test_steps=0, random_features=0, penalty=1e-6)
    for name, weight in learner.named_parameters():
        if name.startswith("network.encoder.up.0.4."):  # the last normalisation: scale and shift
            weight.detach().zero_()
    filters = build_learner(
        "pixel_ridge", {"random_features": 0, "penalty": 1e-6}, SPEC, TARGET
    ).eval()
    asked = torch.randn(2, 2, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    found, wanted = (one.adapt(support(), TARGET)(asked) for one in (learner, filters))
    torch.testing.assert_close(found, wanted, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", ["ridge_unet", "joint_unet"])
def test_its_steps_bring_it_closer_to_the_support(name: str) -> None:
    losses = []
    for steps in (0, 15):
        answers = built(name, test_steps=steps).adapt(support(), TARGET)(support().inputs)
        losses.append(task_loss(answers, support().labels, TARGET))
    assert (losses[1] < losses[0]).all()


def test_while_training_it_takes_no_steps() -> None:
    learner = built(test_steps=15)
    with_steps = learner.adapt(support(), TARGET)(support().inputs)
    without = built(test_steps=0).adapt(support(), TARGET)(support().inputs)
    found = learner.train().adapt(support(), TARGET)(support().inputs)
    torch.testing.assert_close(found, without)
    assert not torch.allclose(found, with_steps)


def test_two_together_give_the_mean_of_their_probabilities() -> None:
    joint = built("joint_unet", test_steps=2, conditioned_width=4, conditioned_levels=2)
    asked = support().inputs
    members = [
        one.adapt(support(), TARGET)(asked).softmax(2) for one in (joint.conditioned, joint.ridge)
    ]
    found = joint.adapt(support(), TARGET)(asked).softmax(2)
    torch.testing.assert_close(found, (members[0] + members[1]) / 2)


def test_training_on_other_structures_helps() -> None:
    spec = InputSpec(3, (32, 32))
    torch.manual_seed(0)
    options = {"encoder": {"options": {"width": 8, "levels": 2, "fold": 2}}, "test_steps": 0}
    learner = build_learner("ridge_unet", options, spec, TARGET)
    exam = tasks_of(seed=2, n=6).batch(0)

    def loss() -> float:
        with torch.no_grad():
            return float(learner.eval().loss(exam).mean())

    before = loss()
    optimiser = torch.optim.Adam(learner.parameters(), 5e-3)
    training = tasks_of(seed=1, n=12)
    for number in range(20):
        optimiser.zero_grad()
        learner.train().loss(training.batch(number)).mean().backward()
        optimiser.step()
    assert loss() < before


def tasks_of(*, seed: int, n: int) -> EpisodeLoader:
    source = synthetic_structures(n, images=6, size=32, seed=seed)
    protocol = Protocol(
        sources=(source.name,), kind="masks", n_way=(2, 2), n_shot=(2, 2), n_query=2,
        tasks_per_batch=8, drop_small_classes=True,
    )  # fmt: skip
    return EpisodeLoader(TaskSampler([source], protocol))
