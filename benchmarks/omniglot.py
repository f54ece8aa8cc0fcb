"""Omniglot by its own split: train on the background characters, test on the evaluation ones.

    python benchmarks/omniglot.py --learner prototypical --data omniglot28.npz
    python benchmarks/omniglot.py --learner maml --data omniglot28.npz

Every character in four rotations counts as four classes (964 × 4 to train on, 659 × 4 to test on),
so a character and its rotation are never on both sides. The archive holds ``images`` uint8
``(n, 28, 28)``, ink black on white, ``labels``, ``class_names`` and ``class_is_evaluation``. A run
that was stopped goes on from its newest checkpoint; figures are written to ``docs/omniglot.json``
and from there into the table of ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from medmeta.training.checkpoint import load_weights, model_folder, tensors_from_bytes
from medmeta.training.loop import Report, Trainer
from medmeta.training.metrics_log import read_metrics
from medmeta.training.settings import TrainingSettings
from omniglot_table import write_table
from training_clock import TrainingClock

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "omniglot.json"
DATA = "shared/data/classification/omniglot28.npz"
SPEC = InputSpec(1, (28, 28))
HELD_OUT_CHARACTERS = 64
TEST_SEED, VALIDATION_SEED = 2026, 7


@dataclass(frozen=True)
class Recipe:
    """How one learner is trained here, and at what it is tested (way, shot, queries per class).

    ``held_out`` background characters are kept from training to draw the learning curve and to
    choose the inner steps at test; none where the last weights are taken as they are.
    """

    config: dict[str, Any]
    settings: TrainingSettings
    way: int
    shot: int
    n_query: int
    tasks_per_step: int
    tests: tuple[tuple[int, int, int], ...]
    held_out: int = 0
    test_steps: tuple[int, ...] = ()


RECIPES = {
    "prototypical": Recipe(
        config={"encoder": {"norm": "running"}},
        settings=TrainingSettings(
            steps=4000,
            schedule="cosine",
            precision="bfloat16",
            clip_norm=0.0,
            validate_every=0,
            checkpoint_every=200,
        ),
        way=60,
        shot=1,
        n_query=5,
        tasks_per_step=1,
        tests=((5, 1, 15), (5, 5, 15), (20, 1, 15)),
    ),
    "maml": Recipe(
        config={
            "inner_rate": 1.0,
            "inner_steps": 1,
            "max_way": 5,
            "encoder": {"norm": "batch", "options": {"downsample": "stride", "embed": "mean"}},
        },
        settings=TrainingSettings(
            steps=9000,
            schedule="cosine",
            learning_rate=2e-3,
            clip_norm=10.0,
            validate_every=250,
            checkpoint_every=250,
        ),
        way=5,
        shot=1,
        n_query=1,
        tasks_per_step=32,
        tests=((5, 1, 1),),
        held_out=HELD_OUT_CHARACTERS,
        test_steps=(1, 2, 3, 5, 10),
    ),
}


def load_split(path: Path, held_out: int) -> tuple[Source, Source | None, Source]:
    """Background characters to train on, those held out of them, and the evaluation characters."""
    with np.load(path, allow_pickle=False) as archive:
        ink = 255 - archive["images"]
        labels = archive["labels"]
        is_test = archive["class_is_evaluation"].astype(bool)
    background, evaluation = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    order = np.random.Generator(np.random.Philox(key=[0, 1])).permutation(background)
    kept, out = order[held_out:], order[:held_out]
    test = rotated("omniglot-evaluation", ink, labels, evaluation)
    validation = rotated("omniglot-held-out", ink, labels, out) if held_out else None
    return rotated("omniglot-background", ink, labels, kept), validation, test


def rotated(name: str, ink: np.ndarray, labels: np.ndarray, characters: np.ndarray) -> Source:
    """The characters given, in four rotations, each a class of its own."""
    rows = np.flatnonzero(np.isin(labels, characters))
    turned = np.concatenate([np.rot90(ink[rows], k, axes=(1, 2)) for k in range(4)])
    names = [f"{labels[r]:04d}-{90 * k}" for k in range(4) for r in rows]
    return Source.from_arrays(name, np.ascontiguousarray(turned[:, None]), names)


def test_protocol(
    source: Source, way: int, shot: int, n_query: int, *, learner: AbstractLearner, seed: int
) -> Protocol:
    """The tasks of one test: 1,000 of them."""
    return Protocol(
        sources=(source.name,),
        n_way=(way, way),
        n_shot=(shot, shot),
        n_query=n_query,
        episodes=1000,
        tasks_per_batch=20,
        norm="batch" if learner.traits.transductive else "running",
        transductive=learner.traits.transductive,
        seed=seed,
    )


def score(learner: AbstractLearner, source: Source, protocol: Protocol) -> float:
    """Mean accuracy over tasks."""
    return evaluate(learner, source, protocol).summary["accuracy"].mean


def train(
    name: str, recipe: Recipe, run: Path, data: Path
) -> tuple[AbstractLearner, dict[str, float]]:
    """Train, or go on; returns the learner and the seconds that training took in all."""
    training, validation, _ = load_split(data, recipe.held_out)
    torch.manual_seed(recipe.settings.seed)
    learner = build_learner(name, recipe.config, SPEC, Target("classes", recipe.way))
    sampler = TaskSampler(
        [training],
        Protocol(
            sources=(training.name,),
            n_way=(recipe.way, recipe.way),
            n_shot=(recipe.shot, recipe.shot),
            n_query=recipe.n_query,
            tasks_per_batch=recipe.tasks_per_step,
            seed=recipe.settings.seed,
        ),
    )
    clock = TrainingClock(run / "seconds.json")

    def told(report: Report) -> None:
        if report.step % 50 == 0:
            seconds = clock.write()["seconds"]
            print(
                f"{report.step}/{report.steps} loss {report.loss:.4f} "
                f"held-out accuracy {report.score} after {seconds:.0f} s",
                flush=True,
            )

    def validate(candidate: AbstractLearner) -> float:
        assert validation is not None
        protocol = test_protocol(
            validation, *recipe.tests[0], learner=candidate, seed=VALIDATION_SEED
        ).model_copy(update={"episodes": 300})
        return score(candidate, validation, protocol)

    Trainer(
        learner,
        EpisodeLoader(sampler),
        recipe.settings,
        run,
        {"learner": name, "options": recipe.config},
        validate=validate if validation is not None else None,
        report=told,
    ).fit()
    spent = clock.write(finished=True)
    folder = model_folder(run)
    weights = tensors_from_bytes((folder / "weights.safetensors").read_bytes(), where=folder)
    load_weights(learner, weights, where=folder)
    return learner.eval(), spent


def held_out_curve(run: Path) -> list[tuple[int, float]]:
    """Steps and accuracies on held-out characters, in per cent."""
    lines = read_metrics(run)
    return [(x["step"], round(100 * x["validation"], 2)) for x in lines if "validation" in x]


def with_best_test_steps(
    name: str, recipe: Recipe, learner: AbstractLearner, validation: Source
) -> tuple[AbstractLearner, dict[str, float]]:
    """The learner with the inner steps that do best on the held-out background characters."""
    scores: dict[int, float] = {}
    for steps in recipe.test_steps:
        other = build_learner(
            name, {**recipe.config, "test_steps": steps}, SPEC, Target("classes", recipe.way)
        )
        other.load_state_dict(learner.state_dict())
        protocol = test_protocol(
            validation, *recipe.tests[0], learner=learner, seed=VALIDATION_SEED
        )
        scores[steps] = score(other.eval(), validation, protocol)
    best = max(scores, key=lambda s: scores[s])
    chosen = build_learner(
        name, {**recipe.config, "test_steps": best}, SPEC, Target("classes", recipe.way)
    )
    chosen.load_state_dict(learner.state_dict())
    return chosen.eval(), {str(s): round(100 * v, 2) for s, v in scores.items()}


def main() -> None:
    """Train and test one learner, and write what it reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--learner", choices=sorted(RECIPES), default="prototypical")
    parser.add_argument("--data", type=Path, default=ROOT.parent / DATA, help="the archive")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--steps", type=int, help="another number of steps than the recipe's")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    name, recipe = arguments.learner, RECIPES[arguments.learner]
    settings = recipe.settings
    if arguments.steps:
        settings = settings.model_copy(update={"steps": arguments.steps})
    recipe = Recipe(**{**vars(recipe), "settings": settings})
    run = arguments.runs / f"omniglot-{name}"
    run.mkdir(parents=True, exist_ok=True)
    learner, spent = train(name, recipe, run, arguments.data)
    _, validation, test = load_split(arguments.data, recipe.held_out)
    choice: dict[str, float] = {}
    if validation is not None and recipe.test_steps:
        learner, choice = with_best_test_steps(name, recipe, learner, validation)
    rows = []
    for way, shot, n_query in recipe.tests:
        protocol = test_protocol(test, way, shot, n_query, learner=learner, seed=TEST_SEED)
        accuracy = evaluate(learner, test, protocol).summary["accuracy"]
        rows.append(
            {
                "learner": name,
                "way": way,
                "shot": shot,
                "n_query": n_query,
                "transductive": learner.traits.transductive,
                "accuracy": round(100 * accuracy.mean, 2),
                "interval": round(100 * (accuracy.high - accuracy.mean), 2),
                "tasks": accuracy.tasks,
                "steps": settings.steps,
                **spent,
                "threads": arguments.threads,
                "seed": settings.seed,
                "trained_way": recipe.way,
                "trained_shot": recipe.shot,
                "options": recipe.config,
                "training": settings.model_dump(),
                "held_out_accuracy_by_test_steps": choice,
                "held_out_curve": held_out_curve(run),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    write_table(RESULTS, ROOT / "docs" / "results.md", rows)


if __name__ == "__main__":
    main()
