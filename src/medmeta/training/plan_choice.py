"""The fastest way to run a step's tasks, by a short measurement at the start of a run."""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass

import torch

from medmeta.episode import Episode
from medmeta.errors import SettingsError
from medmeta.learner import AbstractLearner
from medmeta.tasks import preferring
from medmeta.training.buffers import buffers_kept
from medmeta.training.bytes_made import BytesMade
from medmeta.training.settings import Precision
from medmeta.training.step import StepGradient
from medmeta.training.task_plan import TOGETHER, TaskMapChoice, TaskPlan, possible_plans

ROUNDS = 3
MOST_BYTES = 40 * 2**20  # of one pass: more is hardly faster, and takes memory from other work
LIMIT_SECONDS = 10.0  # no further round is begun
HOPELESS = 2.0  # times slower than the best at the first try: not tried again


@dataclass(frozen=True)
class PlanChoice:
    """The plan of a run, and the speed of each that was measured, in tasks per second."""

    plan: TaskPlan
    speeds: tuple[tuple[TaskPlan, float], ...] = ()

    def describe(self) -> str:
        """In a line; empty where nothing was measured."""
        if not self.speeds:
            return ""
        ordered = sorted(self.speeds, key=lambda pair: -pair[1])
        listed = ", ".join(f"{plan.describe()} {speed:.3g}" for plan, speed in ordered)
        return f"Tasks are run by {self.plan.describe()}. Measured, in tasks per second: {listed}."


def choose_plan(
    learner: AbstractLearner,
    episode: Episode,
    choice: TaskMapChoice,
    *,
    precision: Precision = "float32",
) -> PlanChoice:
    """Measure the plans that ``choice`` leaves on one batch of tasks, and take the fastest.

    The learner is left as it is. Where chance has a part in its loss, workers are left out, for
    they would draw in an order that nobody could repeat. Raises ``SettingsError`` where the choice
    is not to be had.
    """
    trial = copy.deepcopy(learner).train() if learner.traits.maps_tasks else learner
    plans = possible_plans(
        learner,
        choice,
        n_tasks=episode.support.n_tasks,
        threads=torch.get_num_threads(),
        device=episode.support.labels.device.type,
        most_together=_most_together(trial, episode) if choice == "auto" else TOGETHER[-1],
    )
    if any(plan.workers > 1 for plan in plans) and _uses_chance(trial, episode):
        plans = _without_workers(plans, choice)
    if len(plans) == 1:
        return PlanChoice(plans[0])
    speeds = _measured(trial, episode, plans, precision)
    return PlanChoice(max(speeds, key=lambda pair: pair[1])[0], tuple(speeds))


def _most_together(learner: AbstractLearner, episode: Episode) -> int:
    """How many tasks a pass may take so that what they compute stays within bounds.

    Where that is less than the fewest that are tried, it is one: two or three gain little.
    """
    if not learner.traits.maps_tasks or episode.support.labels.is_cuda:
        return TOGETHER[-1]
    with preferring("loop"), BytesMade() as made:
        learner.loss(episode.tasks(0, 1))
    fitting = MOST_BYTES // max(1, int(made.bytes))
    return fitting if fitting >= TOGETHER[0] else 1


def _uses_chance(learner: AbstractLearner, episode: Episode) -> bool:
    """Whether another seed makes another loss of one task."""
    losses = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            with buffers_kept(learner):  # or the second would begin with what the first has left
                losses.append(learner.loss(episode.tasks(0, 1)).detach())
    return not torch.equal(*losses)


def _without_workers(plans: list[TaskPlan], choice: TaskMapChoice) -> list[TaskPlan]:
    alone = [plan for plan in plans if plan.workers == 1]
    if not alone:
        raise SettingsError(
            f"--task-map {choice}: chance has a part in this learner's loss (dropout, or draws), "
            "and side-by-side workers would draw in an order that no run could repeat; use "
            f"{choice.removesuffix('-workers')}."
        )
    return alone


def _measured(
    learner: AbstractLearner, episode: Episode, plans: list[TaskPlan], precision: Precision
) -> list[tuple[TaskPlan, float]]:
    """Tasks per second of each plan: medians of rounds that go through all of them in turn."""
    seconds: dict[TaskPlan, list[float]] = {plan: [] for plan in plans}
    gradients = {plan: StepGradient(learner, plan, precision=precision) for plan in plans}
    started = time.perf_counter()
    try:
        for number in range(1 + ROUNDS):
            best = min((min(known) for known in seconds.values() if known), default=float("inf"))
            for plan, gradient in gradients.items():
                known = seconds[plan]
                if number > 1 and min(known) > HOPELESS * best:
                    continue
                taken = _seconds(gradient, episode)
                seconds[plan] = [taken] if number <= 1 else [*known, taken]  # the first warms up
            if time.perf_counter() - started > LIMIT_SECONDS:
                break
    finally:
        for gradient in gradients.values():
            gradient.close()
    n_tasks = episode.support.n_tasks
    return [(plan, n_tasks / statistics.median(known)) for plan, known in seconds.items()]


def _seconds(gradient: StepGradient, episode: Episode) -> float:
    started = time.perf_counter()
    gradient(episode)
    if episode.support.labels.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
