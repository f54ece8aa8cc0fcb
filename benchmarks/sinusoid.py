"""Values from few examples: the sinusoids of the MAML paper, and lines measured off images.

    python benchmarks/sinusoid.py
    python benchmarks/sinusoid.py --task sinusoid --learner maml
    python benchmarks/sinusoid.py --quick

What stands in ``docs/values.json`` with as many training steps is not done again, and a training
that was stopped goes on from its newest checkpoint, so the table of ``docs/results.md`` can be
filled over several sittings; ``--share 0.2`` first takes a fifth of every learner's steps.
``--quick`` tries everything with a few steps and writes nothing there.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medmeta.encoders import ExternalEncoder
from medmeta.episode import InputSpec
from medmeta.evaluation.intervals import summarise
from medmeta.learner import AbstractLearner
from medmeta.learners import EmbeddingLearner, build_learner, configuration, learner_spec
from medmeta.training.loop import Report, Trainer
from medmeta.training.settings import TrainingSettings
from training_clock import TrainingClock
from value_tasks import VALUE, Drawn, Floats, Lines, Sinusoids, ValueTasks, other
from values_table import known_rows, write_table

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = 40
SEED, TEST_SEED, TEST_BATCH, QUICK_SHARE = 0, 2026, 50, 1e-4
Build = Callable[[str, dict[str, Any]], AbstractLearner]


@dataclass(frozen=True)
class Recipe:
    """How one learner is trained on one kind of task, and after which steps it is tested."""

    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    steps_at_test: tuple[int, ...] = (1, 10)


@dataclass(frozen=True)
class Bench:
    """A kind of task, on what it is tested, how a learner of it is built, and the recipes."""

    tasks: ValueTasks
    tested_points: tuple[int, ...]
    build: Build
    recipes: dict[str, Recipe]


def sinusoid_learner(name: str, options: dict[str, Any]) -> AbstractLearner:
    """A learner with a network of two layers of 40, in the units given.

    ``build_learner`` would standardise the values on each task's support, which the papers do
    not; so this takes the parts that it is made of.
    """
    spec, config = learner_spec(name), configuration(name, options)
    layers = nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
    encoder = ExternalEncoder(layers, InputSpec(1, ()))
    if spec.build_head is None:
        return spec.build(config, encoder, InputSpec(1, ()), VALUE)
    head = spec.build_head(config, InputSpec(HIDDEN, ()), VALUE)
    return EmbeddingLearner(encoder, head, input_kind="vector")


def line_learner(name: str, options: dict[str, Any]) -> AbstractLearner:
    """A learner as anyone builds it, with Conv-4 unless the options say another encoder."""
    encoder = options.get("encoder", {"options": {"width": 16}})
    spec = InputSpec(1, (32, 32))
    return build_learner(name.split()[0], {**options, "encoder": encoder}, spec, VALUE)


PLAIN: dict[str, Any] = {"clip_norm": 0.0}
ADAM = {**PLAIN, "optimiser": "adam", "learning_rate": 1e-3}
TOWARDS = {**PLAIN, "optimiser": "sgd", "learning_rate": 1.0, "schedule": "cosine"}
SGD_INSIDE = {"inner_optimiser": "sgd", "inner_rate": 0.01, "inner_steps": 10, "inner_batch": 10}


def sinusoid_recipes(steps: int) -> dict[str, Recipe]:
    """One step at 0.01 while training, as both papers; Reptile learns from 20 points or 15."""
    one_step = {"inner_rate": 0.01, "inner_steps": 1}
    return {
        "maml": Recipe(one_step, ADAM, steps),
        "meta_sgd": Recipe(one_step, ADAM, steps),
        "reptile": Recipe(SGD_INSIDE, TOWARDS, steps // 2),
        "ridge": Recipe({"regularisation": 0.1}, ADAM, steps // 2, (0,)),
    }


LINE_RECIPES = {
    "maml": Recipe({"inner_rate": 0.05}, {**ADAM, "clip_norm": 10.0}, 20_000),
    "meta_sgd": Recipe({"inner_rate": 0.05}, {**ADAM, "clip_norm": 10.0}, 20_000),
    "reptile": Recipe({**SGD_INSIDE, "inner_steps": 5}, TOWARDS, 20_000),
    "ridge": Recipe({}, ADAM, 20_000, (0,)),
    "ridge on pixels": Recipe({"encoder": {"name": "pixels"}}, {}, 0, (0,)),
}
BENCHES = {
    "sinusoid": Bench(
        Sinusoids(Drawn(points=10, queries=10, tasks=25, seed=0)),
        (5, 10),
        sinusoid_learner,
        sinusoid_recipes(70_000),
    ),
    "sinusoid of any frequency": Bench(
        Sinusoids(Drawn(points=5, queries=10, tasks=25, seed=0), frequencies=(0.8, 1.2)),
        (5, 10),
        sinusoid_learner,
        sinusoid_recipes(60_000),
    ),
    "line": Bench(
        Lines(Drawn(points=10, queries=10, tasks=4, seed=0)), (10,), line_learner, LINE_RECIPES
    ),
}
LEARNED = {name for bench in BENCHES.values() for name in bench.recipes}


@dataclass(frozen=True)
class Sitting:
    """Where trainings and figures are kept, and on how many tasks is tested."""

    runs: Path
    results: Path
    page: Path
    test_tasks: int = 1000
    share: float = 1.0


def train(bench: Bench, name: str, recipe: Recipe, run: Path) -> tuple[bool, AbstractLearner]:
    """Train, or go on; whether it came to its end, and the learner as it stands."""
    learner = fresh(bench, name, recipe.options)
    if not recipe.steps:
        return True, learner.eval()
    clock = TrainingClock(run / "seconds.json")
    settings = TrainingSettings(
        steps=recipe.steps,
        validate_every=0,
        checkpoint_every=1000,
        log_every=100,
        # Not by measuring, so that the figures are those of the seed.
        task_map="vmap" if learner.traits.maps_tasks else "auto",
        **recipe.training,
    )

    def told(report: Report) -> None:
        if report.step % 1000 == 0:
            seconds = clock.write()["seconds"]
            print(f"{name} {report.step}/{report.steps} after {seconds:.0f} s", flush=True)

    card = {"learner": name, "options": recipe.options}
    outcome = Trainer(learner, bench.tasks, settings, run, card, report=told).fit()
    finished = outcome.reason == "finished"
    clock.write(finished=finished)
    return finished, learner.eval()


def fresh(bench: Bench, name: str, options: dict[str, Any]) -> AbstractLearner:
    """A new learner, always with the same weights."""
    torch.manual_seed(SEED)
    return bench.build(name, options)


def errors_of(learner: AbstractLearner, tasks: ValueTasks, n_tasks: int) -> Floats:
    """Mean squared error of each of the test tasks: their own stream, 100 queries each."""
    n_batches = -(-n_tasks // TEST_BATCH)
    tested = other(tasks, seed=TEST_SEED, tasks=TEST_BATCH, queries=100)
    errors = []
    for episode in tested.batches(0, n_batches):
        with torch.no_grad():
            answers = learner.adapt(episode.support, VALUE)(episode.query.inputs)
        errors.append((answers - episode.query.labels).square().mean((1, 2)).double().numpy())
    return np.concatenate(errors)[:n_tasks]


def _told(number: float, digits: int) -> float | None:
    """Rounded to so many digits; None of what diverged.

    >>> _told(1.23456, 3), _told(float("inf"), 3)
    (1.23, None)
    """
    return float(f"{number:.{digits}g}") if abs(number) < 1e6 else None


def scored(
    bench: Bench, name: str, recipe: Recipe, trained: AbstractLearner, sitting: Sitting
) -> list[dict[str, Any]]:
    """Figures after each number of steps, at each number of points."""
    rows = []
    for steps in recipe.steps_at_test:
        options = {**recipe.options, "test_steps": steps} if steps else recipe.options
        learner = fresh(bench, name, options).eval()
        learner.load_state_dict(trained.state_dict())
        for points in bench.tested_points:
            tasks = other(bench.tasks, points=points)
            summary = summarise(errors_of(learner, tasks, sitting.test_tasks))
            rows.append(
                {
                    "points": points,
                    "steps_at_test": steps or None,
                    "mse": _told(summary.mean, 4),
                    "interval": _told(summary.high - summary.mean, 2),
                    "tasks": summary.tasks,
                }
            )
    return rows


def run_one(task: str, name: str, sitting: Sitting) -> None:
    """Train and test one learner on one kind of task, unless that was done before."""
    bench = BENCHES[task]
    whole = bench.recipes[name]
    recipe = replace(whole, steps=math.ceil(sitting.share * whole.steps))
    wanted = {
        (task, points, name, steps)
        for points in bench.tested_points
        for steps in recipe.steps_at_test
    }
    known = known_rows(sitting.results)
    if all(key in known and known[key]["train_steps"] >= recipe.steps for key in wanted):
        print(f"{task}, {name}: done before", flush=True)
        return
    run = sitting.runs / f"values-{task}-{name}-{recipe.steps}".replace(" ", "-")
    run.mkdir(parents=True, exist_ok=True)
    finished, learner = train(bench, name, recipe, run)
    if not finished:
        raise SystemExit("stopped; the same command goes on from here")
    described = {
        "learner": name,
        "task": task,
        "train_steps": recipe.steps,
        "whole_schedule": whole.steps,
        "trained_points": bench.tasks.drawn.points,
        "tasks_per_step": bench.tasks.drawn.tasks,
        **TrainingClock(run / "seconds.json").read(),
        "threads": torch.get_num_threads(),
        "seed": SEED,
        "options": recipe.options,
        "training": recipe.training,
        "command": f'python benchmarks/sinusoid.py --task "{task}" --learner "{name}" '
        f"--share {sitting.share:g}",
    }
    rows = [{**described, **row} for row in scored(bench, name, recipe, learner, sitting)]
    for row in rows:
        print(json.dumps(row), flush=True)
    write_table(sitting.results, sitting.page, rows)


def main() -> None:
    """Fill what is missing of the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=sorted(BENCHES), help="one kind of task; else all")
    parser.add_argument("--learner", choices=sorted(LEARNED), help="one learner; else all")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="of the training steps")
    parser.add_argument("--quick", action="store_true", help="a few steps, figures kept aside")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    docs, aside = ROOT / "docs", arguments.runs / "quick"
    sitting = Sitting(
        arguments.runs, docs / "values.json", docs / "results.md", share=arguments.share
    )
    if arguments.quick:
        sitting = Sitting(aside, aside / "values.json", aside / "results.md", 50, QUICK_SHARE)
    for task, bench in BENCHES.items():
        for name in bench.recipes:
            if arguments.task in (None, task) and arguments.learner in (None, name):
                run_one(task, name, sitting)


if __name__ == "__main__":
    main()
