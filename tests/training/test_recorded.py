"""Steps that a GPU replays: the same losses, gradients and statistics as steps that are run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medmeta.check_tasks import TaskMaker
from medmeta.episode import Episode, InputSpec, LabelledSet, Predictor, Target
from medmeta.learner import AbstractLearner, Traits
from medmeta.learners import build_learner
from medmeta.training.buffers import buffers_kept
from medmeta.training.recorded import SEEN, Waits
from medmeta.training.step import StepGradient
from medmeta.training.task_plan import TaskPlan

IMAGE, TARGET = InputSpec(1, (28, 28)), Target("classes", 3)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def learner_of(name: str, **options: Any) -> AbstractLearner:
    torch.manual_seed(0)
    return build_learner(name, options, IMAGE, TARGET).train()


def tasks(seed: int, *, shot: int, device: str) -> Episode:
    episode = TaskMaker(IMAGE, TARGET).episode(4, n_shot=shot, n_query=2, seed=seed)
    return Episode(on(episode.support, device), on(episode.query, device), TARGET)


def on(labelled: LabelledSet, device: str) -> LabelledSet:
    assert isinstance(labelled.inputs, Tensor)
    return replace(
        labelled,
        inputs=labelled.inputs.to(device),
        labels=labelled.labels.to(device),
        task_ids=labelled.task_ids.to(device),
        groups=None if labelled.groups is None else labelled.groups.to(device),
    )


def steps(
    learner: AbstractLearner, episodes: list[Episode], *, recorded: bool
) -> tuple[list[tuple[float, Tensor]], list[Tensor], str]:
    """Loss and gradient of each batch; the statistics afterwards; why nothing was recorded."""
    learner = copy.deepcopy(learner)
    found = []
    with StepGradient(learner, TaskPlan(), recorded=recorded) as gradient:
        for episode in episodes:
            loss = gradient(episode)
            known = [p.grad.flatten() for p in learner.parameters() if p.grad is not None]
            found.append((loss, torch.cat(known)))  # a copy: a replay writes to the same place
        refused = "" if gradient.recorded is None else gradient.recorded.refused
    return found, list(learner.buffers()), refused


class Waiting(AbstractLearner):
    """Looks at a number on the processor within its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.traits = Traits()

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        raise AssertionError

    def loss(self, episode: Episode) -> Tensor:
        assert isinstance(episode.support.inputs, Tensor)
        factor = episode.support.inputs.mean().item()
        return (self.weight * factor).expand(episode.support.n_tasks)


def assert_same(
    learner: AbstractLearner, episodes: list[Episode], *, within: float, refuses: bool = False
) -> None:
    """Weights stay as they are, so that rounding has no way to grow from step to step."""
    found, statistics, refused = steps(learner, episodes, recorded=True)
    wanted, own, _ = steps(learner, episodes, recorded=False)
    assert bool(refused) == refuses
    for (loss, gradient), (plain_loss, plain) in zip(found, wanted, strict=True):
        assert loss == pytest.approx(plain_loss, rel=within)
        assert float((gradient - plain).norm()) <= within * float(plain.norm())
    for one, other in zip(statistics, own, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_on_a_processor_nothing_is_recorded() -> None:
    episodes = [tasks(seed, shot=1, device="cpu") for seed in range(SEEN + 1)]
    assert_same(learner_of("prototypical"), episodes, within=0.0)


@needs_gpu
@pytest.mark.parametrize("name", ["prototypical", "maml", "reptile", "metal", "mann"])
def test_replayed_steps_are_the_steps_that_are_run(name: str) -> None:
    """Shots take turns, so that two recordings do; running statistics count each batch once."""
    shots = (1, 2, 1, 1, 2, 2, 1, 2, 1, 2, 3)
    episodes = [tasks(seed, shot=shot, device="cuda") for seed, shot in enumerate(shots)]
    # The same algorithms in full precision on both sides: Reptile's steps magnify rounding.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        assert_same(learner_of(name).cuda(), episodes, within=1e-2)


@needs_gpu
def test_a_step_that_waits_for_the_gpu_is_run_as_ever() -> None:
    episodes = [tasks(seed, shot=1, device="cuda") for seed in range(SEEN + 2)]
    assert_same(Waiting().cuda(), episodes, within=1e-6, refuses=True)


def test_a_recording_that_fails_leaves_running_statistics_as_they_were() -> None:
    learner = learner_of("prototypical")
    before = [buffer.clone() for buffer in learner.buffers()]

    def warm_up_and_fail() -> None:
        with buffers_kept(learner):
            learner.loss(tasks(0, shot=1, device="cpu"))
            changed = zip(before, learner.buffers(), strict=True)
            assert not all(torch.equal(a, b) for a, b in changed)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        warm_up_and_fail()
    assert all(torch.equal(a, b) for a, b in zip(before, learner.buffers(), strict=True))


def waits_for(step: Callable[[], object]) -> str:
    with Waits("cpu") as waits:
        step()
    return waits.operation


@pytest.mark.parametrize(
    ("step", "operation"),
    [
        (lambda x: x * 2 + x.sum(), ""),
        (lambda x: bool((x > 0).all()), "_local_scalar_dense"),
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: x[x > 0], "index"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x.to("meta"), "_to_copy"),
        (lambda x: x[torch.tensor([0, 2])], ""),
    ],
)
def test_what_waits_for_its_result_is_noticed(
    step: Callable[[Tensor], object], operation: str
) -> None:
    assert waits_for(lambda: step(torch.arange(3.0))) == operation


def test_another_device_is_not_waited_for() -> None:
    """A processor looks at labels where a GPU does not: ``one_hot`` asks for the largest."""
    with Waits("cuda") as waits:
        assert bool((torch.arange(3.0) > -1).all())
    assert waits.operation == ""


def test_what_waits_within_lifted_tasks_and_gradients_is_noticed() -> None:
    def loss(weight: Tensor, x: Tensor) -> Tensor:
        assert bool((TARGET.size > 0) and torch.ones(1).all())
        return (weight * x).square().sum()

    lifted = torch.func.vmap(torch.func.grad(loss), (None, 0))
    assert waits_for(lambda: lifted(torch.ones(3), torch.ones(2, 3))) == "_local_scalar_dense"


def test_prototypes_wait_for_nothing_and_a_ridge_regression_of_pixels_looks_at_its_labels() -> None:
    episode = tasks(0, shot=2, device="cpu")
    prototypical = learner_of("prototypical")
    assert waits_for(lambda: prototypical.loss(episode).mean().backward()) == ""

    spec, target = InputSpec(1, (16, 16)), Target("masks", 2)
    marked = TaskMaker(spec, target).episode(1, n_shot=2, n_query=1, seed=0)
    ridge = build_learner("conditioned_unet", {}, spec, target).train()
    assert waits_for(lambda: ridge.loss(marked).mean().backward()) == "_local_scalar_dense"
