"""Rows of MAML and Meta-SGD: steps of 32 tasks on Omniglot's protocols, all in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from medmeta.episode import Episode
from medmeta.training.settings import Precision
from medmeta.training.task_plan import TaskMapChoice
from speed_rows.maml_peers import STEPS, PeerStep
from speed_rows.networks import gradient_learner, plain_maml_network
from speed_rows.ours import TrainingStep, fingerprint, on_device, plain_step
from speed_rows.pictures import seeded_episode
from speed_rows.row import Goal, Job, Row, Setting, Side, rate

TASKS = 32
INNER_RATE = 0.4
CHECKPOINTED = {"inner_checkpoint": True}


@dataclass(frozen=True)
class Recipe:
    """What is trained: 5 ways, ``shot`` and ``n_query`` images per class, ``inner_steps``."""

    slug: str
    shot: int
    n_query: int
    inner_steps: int
    first_order: bool = False
    learner: str = "maml"

    def episode(self, setting: Setting, seed: int) -> Episode:
        """A batch of tasks, the same for whoever asks."""
        n_tasks = setting.count(TASKS, 2)
        drawn = seeded_episode(seed, n_tasks, 5, self.shot, self.n_query, (1, 28, 28))
        return on_device(drawn, setting.device)

    def tiny(self, setting: Setting) -> Episode:
        """One task of few images, to settle with."""
        return on_device(seeded_episode(0, 1, 5, 1, 1, (1, 28, 28)), setting.device)

    def options(self) -> dict[str, Any]:
        """Of our learner."""
        return {
            "inner_rate": INNER_RATE,
            "inner_steps": self.inner_steps,
            "first_order": self.first_order,
        }

    @property
    def words(self) -> str:
        """For the table."""
        queries = "1 query" if self.n_query == 1 else f"{self.n_query} queries"
        steps = "1 inner step" if self.inner_steps == 1 else f"{self.inner_steps} inner steps"
        order = "first-order" if self.first_order else "second-order"
        name = {"maml": "MAML", "meta_sgd": "Meta-SGD"}[self.learner]
        shape = f"5-way {self.shot}-shot, {queries} per class, {steps}"
        return f"{order} {name}, {TASKS} tasks a step, {shape}, stride-2 Conv-4-64, 28×28"


ONE_QUERY = Recipe("1q", shot=1, n_query=1, inner_steps=1)
MANY_QUERIES = Recipe("15q", shot=1, n_query=15, inner_steps=1)
FIVE_STEPS = Recipe("5steps", shot=5, n_query=15, inner_steps=5)


def ours(
    recipe: Recipe,
    precision: Precision = "float32",
    *,
    task_map: TaskMapChoice = "auto",
    extra: dict[str, Any] | None = None,
) -> Callable[[Setting], Job]:
    """Our training step on this recipe."""

    def make(setting: Setting) -> Job:
        options = recipe.options() | (extra or {})
        learner = gradient_learner(recipe.learner, setting.seed, **options).to(setting.device)
        plain_step(learner, recipe.tiny(setting))
        setting.settle()
        first = recipe.episode(setting, 0)
        step = TrainingStep(
            learner, first, threads=setting.threads, precision=precision, task_map=task_map
        )
        given = cycle([first, *(recipe.episode(setting, seed) for seed in (1, 2))])

        def work() -> int:
            episode = next(given)
            step(episode)
            return episode.support.n_tasks

        def check() -> list[float]:
            loss = step.gradient(first)
            return fingerprint(loss, (p.grad for p in learner.parameters()))

        def plain() -> int:
            simple = gradient_learner(recipe.learner, setting.seed, **recipe.options())
            plain_step(simple.to(setting.device), first.tasks(0, 1))
            return 1

        return Job(rate(work), plain, check, lambda: {"task_map": step.plan.describe()})

    return make


def theirs(recipe: Recipe, peer: str) -> Callable[[Setting], Job]:
    """A library's training step, as its own example of MAML on Omniglot takes it."""

    def make(setting: Setting) -> Job:
        network = plain_maml_network(gradient_learner(recipe.learner, setting.seed)).to(
            setting.device
        )
        step: PeerStep = STEPS[recipe.learner, peer](
            network, INNER_RATE, recipe.inner_steps, first_order=recipe.first_order
        )
        step.gradients(recipe.tiny(setting))
        setting.settle()
        given = cycle([recipe.episode(setting, seed) for seed in range(3)])

        def work() -> int:
            episode = next(given)
            step(episode)
            return episode.support.n_tasks

        def check() -> list[float]:
            loss = step.gradients(recipe.episode(setting, 0))
            return fingerprint(loss, (p.grad for p in step.parameters()))

        return Job(rate(work), check=check)

    return make


def row(
    recipe: Recipe,
    peer: str,
    goal: float | None,
    *,
    precision: Precision = "float32",
    note: str = "",
) -> Row:
    """A row of tasks per second."""
    order = f"{'fo' if recipe.first_order else ''}{recipe.learner.replace('_', '-')}"
    half = "-bf16" if precision == "bfloat16" else ""
    return Row(
        name=f"{order}-{recipe.slug}{half}-{peer}",
        work=recipe.words,
        unit="tasks/s",
        ours=Side(ours(recipe, precision), precision=precision),
        theirs=Side(theirs(recipe, peer), peer=peer, called=peer),
        goal=None if goal is None else Goal("least", goal),
        note="ours in bfloat16 autocast, theirs in float32" if half else note,
    )


def memory_row(name: str, work: str, goal: float, ours: Callable[[Setting], Job]) -> Row:
    """A row of the most memory that a side took beyond its imports."""
    return Row(
        name=name,
        work=f"memory of {FIVE_STEPS.words}{work}",
        unit="MB",
        ours=Side(ours),
        theirs=Side(theirs(FIVE_STEPS, "learn2learn"), peer="learn2learn", called="learn2learn"),
        goal=Goal("most", goal),
        measures="memory",
        pace="tasks/s",
        turns=3,
    )


GOALS = ((ONE_QUERY, 1.7), (MANY_QUERIES, 1.2), (FIVE_STEPS, 1.2))

ROWS: tuple[Row, ...] = (
    row(ONE_QUERY, "learn2learn", 1.7),
    row(MANY_QUERIES, "learn2learn", 1.2),
    row(MANY_QUERIES, "learn2learn", 1.8, precision="bfloat16"),
    row(FIVE_STEPS, "learn2learn", 1.2),
    row(FIVE_STEPS, "learn2learn", 1.8, precision="bfloat16"),
    memory_row("maml-5steps-memory", "", 2.0, ours(FIVE_STEPS)),
    memory_row(
        "maml-5steps-memory-checkpointed",
        ", --set inner_checkpoint=true --task-map loop",
        0.5,
        ours(FIVE_STEPS, task_map="loop", extra=CHECKPOINTED),
    ),
    *(row(replace(recipe, first_order=True), "learn2learn", goal) for recipe, goal in GOALS),
    *(row(replace(recipe, learner="meta_sgd"), "learn2learn", goal) for recipe, goal in GOALS),
    *(
        row(replace(recipe, learner="meta_sgd"), "learn2learn", 1.8, precision="bfloat16")
        for recipe in (MANY_QUERIES, FIVE_STEPS)
    ),
    *(row(ONE_QUERY, peer, None) for peer in ("higher", "torchopt", "torchmeta")),
)
