"""Which plans there are for a learner, a batch and a machine, and which is taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medmeta.check_tasks import TaskMaker
from medmeta.episode import Episode, InputSpec, Target
from medmeta.errors import CheckpointError, SettingsError
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from medmeta.learners.gradient.maml import MAML, MAMLConfig
from medmeta.training import plan_choice
from medmeta.training.plan_choice import choose_plan
from medmeta.training.task_plan import TaskMapChoice, TaskPlan, possible_plans

IMAGE, TARGET = InputSpec(1, (16, 16)), Target("classes", 3)


def learner_of(name: str = "maml") -> AbstractLearner:
    return build_learner(name, {"encoder": {"options": {"width": 4}}}, IMAGE, TARGET)


def names(choice: TaskMapChoice, **given: Any) -> list[str]:
    facts = {"n_tasks": 8, "threads": 2, "device": "cpu", **given}
    return [plan.describe() for plan in possible_plans(learner_of(), choice, **facts)]


def test_auto_leaves_all_that_the_machine_has() -> None:
    assert names("auto", n_tasks=32) == [
        "loop",
        "vmap (4 tasks at once)",
        "vmap (16 tasks at once)",
        "loop-workers (2 workers)",
        "vmap-workers (2 workers, 4 tasks at once)",
        "vmap-workers (2 workers, 16 tasks at once)",
    ]


def test_no_more_workers_than_tasks_or_threads() -> None:
    assert names("auto", n_tasks=1) == ["loop"]
    assert names("auto", threads=1) == ["loop", "vmap (4 tasks at once)", "vmap (8 tasks at once)"]
    assert names("loop-workers", n_tasks=3, threads=16) == ["loop-workers (3 workers)"]


def test_a_gpu_has_no_workers() -> None:
    assert all("workers" not in name for name in names("auto", device="cuda"))
    with pytest.raises(SettingsError, match="loop-workers cannot be had"):
        names("loop-workers", device="cuda")


@pytest.mark.parametrize("choice", ["loop", "vmap", "loop-workers", "vmap-workers"])
def test_a_choice_leaves_one_plan(choice: TaskMapChoice) -> None:
    (plan,) = possible_plans(learner_of(), choice, n_tasks=8, threads=2, device="cpu")
    assert plan.name == choice


def test_a_learner_that_embeds_takes_all_tasks_in_one_pass() -> None:
    facts: dict[str, Any] = {"n_tasks": 8, "threads": 2, "device": "cpu"}
    assert possible_plans(learner_of("prototypical"), "auto", **facts) == [TaskPlan("vmap", 1, 0)]
    with pytest.raises(SettingsError, match="--task-map loop: prototypical runs all tasks"):
        possible_plans(learner_of("prototypical"), "loop", **facts)


@pytest.mark.parametrize("plan", [TaskPlan(), TaskPlan("loop", 2, 1), TaskPlan("vmap", 1, 16)])
def test_a_plan_comes_back_from_json(plan: TaskPlan) -> None:
    assert TaskPlan.from_dict(plan.to_dict()) == plan


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"method": "loop", "workers": 0, "together": 1},
        {"method": "loop", "workers": 10**9, "together": 1},
        {"method": "map", "workers": 1, "together": 1},
        {"method": "vmap", "workers": 1, "together": "all"},
        {"method": "vmap", "workers": 1, "together": -1},
    ],
    ids=str,
)
def test_a_plan_that_no_run_wrote_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="task map"):
        TaskPlan.from_dict(values)


def batch(n_tasks: int = 4) -> Episode:
    return TaskMaker(IMAGE, TARGET).episode(n_tasks, n_shot=1, n_query=2, seed=0)


@pytest.fixture
def _two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
def test_the_fastest_of_what_was_measured_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"loop": 4.0, "vmap": 2.0, "loop-workers": 0.5, "vmap-workers": 1.0}
    monkeypatch.setattr(plan_choice, "_seconds", lambda gradient, _: slow[gradient.plan.name])
    chosen = choose_plan(learner_of(), batch(), "auto")
    assert chosen.plan == TaskPlan("loop", 2, 1)
    speeds = {plan.name: speed for plan, speed in chosen.speeds}
    assert speeds == {"loop": 1.0, "vmap": 2.0, "loop-workers": 8.0, "vmap-workers": 4.0}
    assert "loop-workers (2 workers) 8" in chosen.describe()


@pytest.mark.usefixtures("_two_threads")
def test_measuring_leaves_the_learner_as_it_was() -> None:
    learner = learner_of().eval()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    state = torch.random.get_rng_state()
    choose_plan(learner, batch(), "auto")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not learner.training
    assert all(p.grad is None for p in learner.parameters())
    assert all(torch.equal(before[k], v) for k, v in learner.state_dict().items())


def test_a_choice_is_not_measured() -> None:
    chosen = choose_plan(learner_of(), batch(), "vmap")
    assert chosen.plan == TaskPlan("vmap", 1, 4)
    assert chosen.speeds == ()
    assert chosen.describe() == ""


def by_chance() -> MAML:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 3), nn.Dropout(0.5))
    return MAML(network, MAMLConfig(), target=TARGET, max_way=3)


@pytest.mark.usefixtures("_two_threads")
def test_chance_and_workers_do_not_go_together() -> None:
    """Threads would draw from one generator in an order that no run could repeat."""
    chosen = choose_plan(by_chance(), batch(), "auto")
    assert chosen.plan.workers == 1
    assert all(plan.workers == 1 for plan, _ in chosen.speeds)
    with pytest.raises(SettingsError, match="chance has a part in this learner's loss"):
        choose_plan(by_chance(), batch(), "loop-workers")


@pytest.mark.usefixtures("_two_threads")
def test_what_goes_on_from_batch_to_batch_is_no_chance() -> None:
    options = {"inner_moments": "gathered", "encoder": {"options": {"width": 4}}}
    reptile = build_learner("reptile", options, IMAGE, TARGET)
    before = [buffer.clone() for buffer in reptile.buffers()]
    assert choose_plan(reptile, batch(), "loop-workers").plan.workers == 2
    assert all(torch.equal(*pair) for pair in zip(reptile.buffers(), before, strict=True))


def test_tasks_that_need_much_memory_are_not_tried_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan_choice, "MOST_BYTES", 1)
    chosen = choose_plan(learner_of(), batch(), "auto")
    assert {plan.method for plan, _ in chosen.speeds} <= {"loop"}
    assert choose_plan(learner_of(), batch(), "vmap").plan.method == "vmap"
