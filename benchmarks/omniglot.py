"""Omniglot by its own split: train on the background characters, test on the evaluation ones.

    python benchmarks/omniglot.py --learner prototypical maml     trained, then tested
    python benchmarks/omniglot.py --learner metal:fine_tuning     plainly, from METAL's start
    python benchmarks/omniglot.py --learner heads                 heads on the shared encoder
    python benchmarks/omniglot.py --learner maml --split characters   split as in the papers
    python benchmarks/omniglot.py --list                          the recipes, and what is done

Every character in four rotations counts as four classes (964 × 4 to train on, 659 × 4 to test on),
so a character and its rotation are never on both sides. The archive holds ``images`` uint8
``(n, 28, 28)``, ink black on white, ``labels``, ``class_names`` and ``class_is_evaluation``. A run
that was stopped goes on from its newest checkpoint, what is done is not done again (``--again``);
figures are written to ``docs/omniglot.json`` and from there into the table of ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.evaluation.encoded import EncodedSource
from medmeta.evaluation.evaluate import evaluate
from medmeta.evaluation.intervals import paired_difference
from medmeta.learner import AbstractLearner
from medmeta.learners import EmbeddingLearner, build_head
from medmeta.training.settings import TrainingSettings
from omniglot_recipes import (
    FINE_TUNED,
    FINE_TUNING,
    HEADS,
    RECIPES,
    SHARED_ENCODER,
    SLOW_HEADS,
    Recipe,
    Test,
)
from omniglot_split import SPLITS, load_split
from omniglot_table import TUNED, is_done, write_table
from omniglot_training import (
    Place,
    best_fine_tuning,
    fine_tuned,
    fresh_learner,
    held_out_curve,
    test_protocol,
    train,
    trained_encoder,
    with_best_test_steps,
    with_test_steps,
    with_weights_of,
)
from page_tables import kept_rows
from training_clock import TrainingClock

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "docs" / "omniglot.json", ROOT / "docs" / "results.md"
DATA = "shared/data/classification/omniglot28.npz"
COMMAND = "python benchmarks/omniglot.py --learner"
TEST_SEED, TEST_TASKS = 2026, 1000


def measured(
    learner: AbstractLearner,
    test: Source,
    tests: tuple[Test, ...],
    told: dict[str, Any],
    *,
    device: str,
    encoded: EncodedSource | None,
    tasks: int = TEST_TASKS,
    beside: AbstractLearner | None = None,
) -> list[dict[str, Any]]:
    """A row for each test; with another learner ``beside``, how far that is above, by task."""
    rows = []
    for way, shot, n_query in tests:
        protocol = test_protocol(test, way, shot, n_query, learner=learner, seed=TEST_SEED)
        protocol = protocol.model_copy(update={"episodes": tasks})
        start = time.monotonic()
        found = evaluate(learner, test, protocol, device=device, encoded=encoded)
        accuracy = found.summary["accuracy"]
        row = {
            "way": way,
            "shot": shot,
            "n_query": n_query,
            "transductive": learner.traits.transductive,
            "accuracy": round(100 * accuracy.mean, 2),
            "interval": round(100 * (accuracy.high - accuracy.mean), 2),
            "tasks": accuracy.tasks,
            "test_seconds": round(time.monotonic() - start, 1),
            **told,
        }
        if beside is not None:
            other = evaluate(beside, test, protocol, device=device).records["accuracy"]
            gap = paired_difference(other, found.records["accuracy"])
            row["learned_above_this"] = {
                name: round(100 * getattr(gap, name), 2) for name in ("mean", "low", "high")
            }
        rows.append(row)
        print(json.dumps({k: row[k] for k in ("learner", "way", "shot", "accuracy", "interval")}))
    return rows


def command_of(name: str, recipe: Recipe, place: Place, then: str = "") -> str:
    """What is typed to train and test a learner so, or what comes ``then`` (``:fine_tuning``)."""
    others = f" --steps {recipe.settings.steps}" if recipe != RECIPES[name] else ""
    return (
        f"{COMMAND} {name}{then}{others}"
        + (f" --device {place.device}" if place.device != "cpu" else "")
        + _split_option(place)
    )


def _split_option(place: Place) -> str:
    return f" --split {place.split}" if place.split != "alphabets" else ""


def trained_rows(name: str, recipe: Recipe, place: Place) -> list[dict[str, Any]]:
    """Train one learner and test it."""
    place.run(name).mkdir(parents=True, exist_ok=True)
    learner, spent = train(name, recipe, place)
    _, validation, test = load_split(place.data, recipe.held_out, place.split)
    told = {
        "learner": recipe.learner,
        "steps": recipe.settings.steps,
        **spent,
        "threads": place.threads,
        "split": place.split,
        "device": place.device,
        "seed": recipe.settings.seed,
        "trained_way": recipe.way,
        "trained_shot": recipe.shot,
        "training": recipe.settings.model_dump(),
        "held_out_curve": held_out_curve(place.run(name)),
        "command": command_of(name, recipe, place),
    }
    rows = []
    for said, others in (("", dict[str, Any]()), *recipe.also_tested):
        tested, choice = learner, dict[str, float]()
        if validation is not None and recipe.test_steps:
            tested, choice = with_best_test_steps(recipe, learner, place, validation, **others)
        own = {
            "variant": "; ".join(filter(None, (recipe.variant, said))),
            "options": recipe.config | others,
            "held_out_accuracy_by_test_steps": choice,
        }
        rows += measured(tested, test, recipe.tests, told | own, device=place.device, encoded=None)
    return rows


def fine_tuned_rows(name: str, recipe: Recipe, place: Place) -> list[dict[str, Any]]:
    """Test plain fine-tuning from where a trained learner starts."""
    run = place.run(name)
    clock = TrainingClock(run / "seconds.json")
    if not clock.finished:
        raise SystemExit(f"train it first: {COMMAND} {name}")
    _, _, test = load_split(place.data, recipe.held_out, place.split)
    options, tried = best_fine_tuning(recipe, place, run, FINE_TUNING)
    told = {
        "learner": "fine_tuning",
        "variant": f"from the start that {name} learned",
        "steps": recipe.settings.steps,
        **clock.read(),
        "threads": place.threads,
        "split": place.split,
        "seed": recipe.settings.seed,
        "trained_way": recipe.way,
        "trained_shot": recipe.shot,
        "options": options,
        "held_out_accuracy_by_options": tried,
        "command": command_of(name, recipe, place, TUNED),
    }
    return measured(
        fine_tuned(recipe, place, run, options), test, recipe.tests, told,
        device=place.device, encoded=None, beside=_as_tested(name, recipe, place),
    )  # fmt: skip


def _as_tested(name: str, recipe: Recipe, place: Place) -> AbstractLearner | None:
    """A trained learner with the inner steps that its own rows were tested with."""
    command = command_of(name, recipe, place)
    own = [row for row in kept_rows(RESULTS) if row["command"] == command]
    if not own:
        return None
    learner = with_weights_of(fresh_learner(recipe, place), place.run(name)).to(place.device)
    by_steps: dict[str, float] = own[0]["held_out_accuracy_by_test_steps"]
    best = int(max(by_steps, key=lambda steps: by_steps[steps]))
    return with_test_steps(recipe, learner, place, best)


def head_rows(names: Sequence[str], place: Place, *, again: bool) -> Iterator[list[dict[str, Any]]]:
    """Test heads on the shared encoder, each image encoded once; none is trained across tasks."""
    recipe = RECIPES[SHARED_ENCODER]
    _, _, test = load_split(place.data, 0, place.split)
    spent = TrainingClock(place.run(SHARED_ENCODER) / "seconds.json").read()
    encoder = trained_encoder(place).to(place.device)
    embedding = InputSpec(encoder.embedding_size, ())
    encoded: EncodedSource | None = None
    for name in names:
        command = f"{COMMAND} heads --heads {name}{_split_option(place)}"
        if is_done(kept_rows(RESULTS), command) and not again:
            continue
        told = {
            "learner": name,
            "variant": f"on the encoder of {SHARED_ENCODER}",
            "steps": recipe.settings.steps,
            **spent,
            "threads": place.threads,
            "split": place.split,
            "seed": recipe.settings.seed,
            "trained_way": recipe.way,
            "trained_shot": recipe.shot,
            "command": command,
        }
        rows = []
        for one in HEADS[name]:
            head = build_head(name, None, embedding, Target("classes", one[0]))
            learner = EmbeddingLearner(encoder, head).eval().to(place.device)
            encoded = encoded or EncodedSource(learner, test, device=place.device)
            rows += measured(
                learner, test, (one,), told, device=place.device, encoded=encoded,
                tasks=SLOW_HEADS.get(name, TEST_TASKS),
            )  # fmt: skip
        yield rows


def stretched(settings: TrainingSettings, steps: int) -> TrainingSettings:
    """The same for another number of steps, with as many validations and checkpoints.

    >>> stretched(TrainingSettings(steps=100, checkpoint_every=20), 1000).checkpoint_every
    200
    """
    often = {
        name: -(-getattr(settings, name) * steps // settings.steps)
        for name in ("validate_every", "checkpoint_every")
    }
    return settings.model_copy(update={"steps": steps, **often})


def _with_steps(recipe: Recipe, steps: int | None) -> Recipe:
    """The recipe, stretched to another number of steps where one is given."""
    if not steps:
        return recipe
    return dataclasses.replace(recipe, settings=stretched(recipe.settings, steps))


def main() -> None:
    """Train and test learners, and write what they reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    named = [*RECIPES, *(f"{name}{TUNED}" for name in FINE_TUNED), "heads"]
    parser.add_argument("--learner", nargs="+", choices=named, default=[], metavar="NAME")
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS))
    parser.add_argument("--list", action="store_true", help="name the recipes and leave")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--data", type=Path, default=ROOT.parent / DATA, help="the archive")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--steps", type=int, help="another number of steps than the recipe's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--split", choices=SPLITS, default="alphabets", help="Omniglot's or theirs")
    parser.add_argument("--device", default="cpu", help="where learners are trained: cpu, cuda")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    place = Place(
        arguments.data, arguments.runs, arguments.threads, arguments.device, arguments.split
    )
    if arguments.list:
        for name, recipe in RECIPES.items():
            print(f"{name:24} {recipe.learner} {recipe.variant}")
        return
    for name in arguments.learner:
        if name == "heads":
            for rows in head_rows(arguments.heads, place, again=arguments.again):
                write_table(RESULTS, PAGE, rows)
            continue
        start, then = name.removesuffix(TUNED), TUNED if name.endswith(TUNED) else ""
        recipe = _with_steps(RECIPES[start], arguments.steps)
        steps, command = recipe.settings.steps, command_of(start, recipe, place, then)
        if arguments.again or not is_done(kept_rows(RESULTS), command, steps):
            made = fine_tuned_rows if then else trained_rows
            write_table(RESULTS, PAGE, made(start, recipe, place))


if __name__ == "__main__":
    main()
