"""A step's gradient is the same by every plan: the plain loop is the oracle."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medmeta.check_tasks import TaskMaker
from medmeta.episode import Episode, InputSpec, LabelledSet, Predictor, Target
from medmeta.learner import AbstractLearner, Traits
from medmeta.learners import build_learner
from medmeta.tasks import TaskMap
from medmeta.training.step import StepGradient
from medmeta.training.task_plan import TaskPlan

IMAGE, TARGET = InputSpec(1, (28, 28)), Target("classes", 3)
METHODS: tuple[TaskMap, ...] = ("loop", "vmap")
PLANS = [TaskPlan(m, w, k) for m, w, k in product(METHODS, (1, 2, 3), (0, 1, 2))]


def learner_of(**options: Any) -> AbstractLearner:
    torch.manual_seed(0)
    encoder = {
        "options": {"width": 4, "downsample": "stride"},
        "norm": options.pop("norm", "batch"),
    }
    return build_learner("maml", {**options, "encoder": encoder}, IMAGE, TARGET).train()


def tasks(n_tasks: int = 5, seed: int = 0) -> Episode:
    return TaskMaker(IMAGE, TARGET).episode(n_tasks, n_shot=2, n_query=2, seed=seed)


def plain(learner: AbstractLearner, episode: Episode) -> tuple[float, list[Tensor]]:
    """The gradient of the mean loss of one task after the other."""
    parameters = list(learner.parameters())
    n_tasks = episode.support.n_tasks
    losses = [learner.loss(episode.tasks(t, t + 1)) for t in range(n_tasks)]
    mean = torch.cat(losses).mean()
    return float(mean.detach()), list(torch.autograd.grad(mean, parameters))


def by(plan: TaskPlan, learner: AbstractLearner, episode: Episode) -> tuple[float, list[Tensor]]:
    with StepGradient(learner, plan) as gradient:
        loss = gradient(episode)
    found = [p.grad for p in learner.parameters()]
    assert all(g is not None for g in found)
    return loss, [g.clone() for g in found if g is not None]


@pytest.mark.parametrize(
    "plan", PLANS, ids=lambda plan: f"{plan.name} {plan.workers} {plan.together}"
)
def test_each_plan_gives_the_gradient_of_the_plain_loop(plan: TaskPlan) -> None:
    learner, episode = learner_of(inner_steps=2, inner_rate=0.1), tasks()
    loss, gradient = plain(learner, episode)
    found_loss, found = by(plan, learner, episode)
    assert found_loss == pytest.approx(loss, rel=1e-5)
    for one, other in zip(found, gradient, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("plan", [TaskPlan("loop", 2, 1), TaskPlan("vmap", 2, 2)], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"first_order": True},
        {"norm": "group"},
        {"inner_steps": 3, "inner_checkpoint": True},
    ],
    ids=str,
)
def test_workers_agree_with_the_loop_under_every_option(
    plan: TaskPlan, options: dict[str, Any]
) -> None:
    learner, episode = learner_of(**options).double(), tasks(4)
    episode = _double(episode)
    learner.loss(episode).mean().backward()  # type: ignore[no-untyped-call]
    wanted = [p.grad.clone() for p in learner.parameters() if p.grad is not None]
    _, found = by(plan, learner, episode)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def _double(episode: Episode) -> Episode:
    support, query = episode.support, episode.query
    assert isinstance(support.inputs, Tensor)
    assert isinstance(query.inputs, Tensor)
    return Episode(
        support.with_inputs(support.inputs.double()),
        query.with_inputs(query.inputs.double()),
        episode.target,
    )


@pytest.mark.parametrize("method", METHODS)
def test_workers_give_the_same_bits_every_time(method: TaskMap) -> None:
    learner, episode = learner_of(), tasks(6)
    with StepGradient(learner, TaskPlan(method, 2, 2)) as gradient:
        runs = []
        for _ in range(8):
            gradient(episode)
            runs.append([p.grad.clone() for p in learner.parameters() if p.grad is not None])
    for run in runs[1:]:
        assert all(torch.equal(one, other) for one, other in zip(run, runs[0], strict=True))


def test_workers_see_weights_that_an_optimiser_changed() -> None:
    learner, episode = learner_of(), tasks(4)
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.5)
    with StepGradient(learner, TaskPlan("loop", 2, 1)) as gradient:
        first = gradient(episode)
        optimiser.step()
        second = gradient(episode)
    assert second == pytest.approx(plain(learner, episode)[0], rel=1e-5)
    assert first != pytest.approx(second, rel=1e-3)


def test_each_step_s_gradient_stands_alone() -> None:
    learner = learner_of()
    with StepGradient(learner, TaskPlan("loop", 2, 1)) as gradient:
        gradient(tasks(4, seed=1))
        gradient(tasks(4, seed=2))
        found = [p.grad.clone() for p in learner.parameters() if p.grad is not None]
    _, wanted = plain(learner, tasks(4, seed=2))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_workers_enter_autocast_themselves() -> None:
    learner, episode = learner_of(norm="group"), tasks(4)
    losses = []
    for plan in (TaskPlan("loop", 1, 1), TaskPlan("loop", 2, 1)):
        with StepGradient(learner, plan, precision="bfloat16") as gradient:
            losses.append(gradient(episode))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    exact = plain(learner, episode)[0]
    assert losses[1] != exact
    assert losses[1] == pytest.approx(exact, rel=0.1)


def test_an_error_in_a_worker_comes_out() -> None:
    learner = learner_of()
    broken = TaskMaker(InputSpec(3, (28, 28)), TARGET).episode(4, n_shot=1, n_query=1, seed=0)
    with StepGradient(learner, TaskPlan("loop", 2, 1)) as gradient, pytest.raises(RuntimeError):
        gradient(broken)


def test_workers_leave_the_threads_of_the_caller() -> None:
    before = torch.get_num_threads()
    with StepGradient(learner_of(), TaskPlan("loop", 2, 1)) as gradient:
        gradient(tasks(2))
        assert torch.get_num_threads() == before


class Remembering(AbstractLearner):
    """One weight, and buffers that a task's loss changes: what ``Reptile`` and statistics do."""

    traits = Traits(targets=frozenset({"classes"}), maps_tasks=True)
    mean: Tensor
    count: Tensor
    fixed: Tensor
    unknown: Tensor  # until a task was seen
    ready: Tensor
    wave: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("mean", torch.tensor(10.0))
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("fixed", torch.tensor([0.1, float("inf")]))
        self.register_buffer("unknown", torch.tensor([float("nan"), float("inf")]))
        self.register_buffer("ready", torch.tensor([False, True]))
        self.register_buffer("wave", torch.tensor(2 + 3j))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        raise NotImplementedError

    def loss(self, episode: Episode) -> Tensor:
        numbers = episode.support.task_ids.float()
        with torch.no_grad():
            self.mean.add_(0.5 * (numbers.mean() - self.mean))
            self.count += 1
            self.unknown.copy_(numbers.mean().expand(2))
            self.ready[0] = True
            self.wave.copy_(numbers.mean() * 1j)
        return self.weight * numbers


@pytest.mark.parametrize(
    "plan", PLANS, ids=lambda plan: f"{plan.name} {plan.workers} {plan.together}"
)
def test_buffers_end_at_the_mean_over_tasks_by_each_plan(plan: TaskPlan) -> None:
    learner, episode = Remembering().train(), tasks(5)
    ids = episode.support.task_ids.float()
    with StepGradient(learner, plan) as gradient:
        gradient(episode)
        first = 10 + 0.5 * (float(ids.mean()) - 10)
        assert learner.mean.item() == pytest.approx(first, rel=1e-6)
        assert learner.count.item() == 8
        assert learner.ready.tolist() == [True, True]
        torch.testing.assert_close(learner.unknown, ids.mean().expand(2))
        torch.testing.assert_close(learner.wave, ids.mean() * 1j)
        gradient(episode)
        assert learner.mean.item() == pytest.approx(first + 0.5 * (float(ids.mean()) - first))
    assert learner.count.item() == 9
    assert torch.equal(learner.fixed, torch.tensor([0.1, float("inf")]))


@pytest.mark.parametrize("plan", [TaskPlan("loop", 1, 1), TaskPlan("loop", 2, 1)], ids=str)
def test_buffers_are_as_before_after_an_error(plan: TaskPlan) -> None:
    class Failing(Remembering):
        def loss(self, episode: Episode) -> Tensor:
            found = super().loss(episode)
            if 3 in episode.support.task_ids:
                raise RuntimeError("broken")
            return found

    learner, episode = Failing().train(), tasks(5)
    before = [buffer.clone() for buffer in learner.buffers()]
    with StepGradient(learner, plan) as gradient, pytest.raises(RuntimeError, match="broken"):
        gradient(episode)
    for buffer, known in zip(learner.buffers(), before, strict=True):
        torch.testing.assert_close(buffer, known, equal_nan=True)


@pytest.mark.parametrize("plan", [TaskPlan("loop", 1, 1), TaskPlan("vmap", 2, 2)], ids=str)
def test_reptile_s_moments_are_the_same_by_each_plan(plan: TaskPlan) -> None:
    def moments_by(plan: TaskPlan) -> dict[str, Tensor]:
        torch.manual_seed(0)
        encoder = {"options": {"width": 4, "downsample": "stride"}}
        options = {"inner_moments": "gathered", "encoder": encoder}
        learner = build_learner("reptile", options, IMAGE, TARGET).train()
        with StepGradient(learner, plan) as gradient:
            for seed in (1, 2):
                gradient(tasks(4, seed=seed))
        return dict(learner.named_buffers())

    found, wanted = moments_by(plan), moments_by(TaskPlan())
    assert found["moments.taken"] == wanted["moments.taken"] == 10
    for name, held in wanted.items():
        torch.testing.assert_close(found[name], held, rtol=1e-3, atol=1e-9)
