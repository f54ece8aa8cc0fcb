"""Training a learner on Omniglot's background characters, and choosing on those held out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from medmeta.app.assembling import encoder_of
from medmeta.data.source import Source
from medmeta.encoders import AbstractEncoder
from medmeta.episode import InputSpec, Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.episodes.union import UnionBatches
from medmeta.evaluation.encoded import EncodedSource
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import AbstractLearner
from medmeta.learners import EmbeddingLearner, UnionClassifier, build_head, build_learner
from medmeta.training.checkpoint import load_weights, model_folder, tensors_from_bytes
from medmeta.training.loop import Report, Trainer
from medmeta.training.metrics_log import read_metrics
from omniglot_recipes import RECIPES, SHARED_ENCODER, Recipe
from omniglot_split import SPEC, Split, load_split
from training_clock import TrainingClock

VALIDATION_SEED, CHOICE_TASKS = 7, 300


@dataclasses.dataclass(frozen=True)
class Place:
    """Where things are, and what there is to compute with."""

    data: Path
    runs: Path
    threads: int
    device: str = "cpu"
    split: Split = "alphabets"

    def run(self, name: str) -> Path:
        """A recipe's run folder."""
        return self.runs / f"omniglot-{name}{self.aside}"

    @property
    def aside(self) -> str:
        """What tells runs of another split apart from those of Omniglot's own."""
        return "" if self.split == "alphabets" else f"-{self.split}"


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


def held_out_score(
    recipe: Recipe,
    learner: AbstractLearner,
    validation: Source,
    *,
    tasks: int,
    device: str = "cpu",
) -> float:
    """Mean accuracy over tasks of held-out background characters, like those of the first test."""
    protocol = test_protocol(validation, *recipe.tests[0], learner=learner, seed=VALIDATION_SEED)
    shorter = protocol.model_copy(update={"episodes": tasks})
    return evaluate(learner, validation, shorter, device=device).summary["accuracy"].mean


def fresh_learner(recipe: Recipe, place: Place, **others: Any) -> AbstractLearner:
    """The recipe's learner before training; options in ``others`` replace the recipe's."""
    target = Target("classes", recipe.way)
    config = {**recipe.config, **others}
    if not recipe.frozen:
        learner = build_learner(recipe.learner, config, SPEC, target)
        if recipe.starts_from:
            given = trained_encoder(place, recipe.starts_from)
            encoder_of(learner).load_state_dict(given.state_dict())
        return learner
    encoder = trained_encoder(place, recipe.frozen)
    options = {name: value for name, value in config.items() if name != "encoder"}
    head = build_head(recipe.learner, options, InputSpec(encoder.embedding_size, ()), target)
    return EmbeddingLearner(encoder, head)


def trained_encoder(place: Place, name: str = SHARED_ENCODER) -> AbstractEncoder:
    """The encoder that a recipe trained, frozen; raises ``SystemExit`` if it is not trained."""
    run = place.run(name)
    if not (run / "seconds.json").exists() or not TrainingClock(run / "seconds.json").finished:
        raise SystemExit(f"train it first: python benchmarks/omniglot.py --learner {name}")
    recipe = RECIPES[name]
    learner = with_weights_of(
        build_learner(recipe.learner, recipe.config, SPEC, Target("classes", recipe.way)), run
    )
    encoder = cast(EmbeddingLearner, learner).encoder
    return encoder.requires_grad_(False).eval()


def with_weights_of(learner: AbstractLearner, run: Path) -> AbstractLearner:
    """The learner with what a finished run learned."""
    folder = model_folder(run)
    weights = tensors_from_bytes((folder / "weights.safetensors").read_bytes(), where=folder)
    load_weights(learner, weights, where=folder)
    return learner.eval()


def train(name: str, recipe: Recipe, place: Place) -> tuple[AbstractLearner, dict[str, float]]:
    """Train, or go on; returns the learner and the seconds that training took in all."""
    training, validation, _ = load_split(place.data, recipe.held_out, place.split)
    run = place.run(name)
    torch.manual_seed(recipe.settings.seed)
    learner = fresh_learner(recipe, place).to(place.device)
    trained, batches = batches_of(recipe, learner, training, device=place.device)
    clock = TrainingClock(run / "seconds.json")

    def told(report: Report) -> None:
        if report.step % 50 == 0:
            seconds = clock.write()["seconds"]
            print(
                f"{name} {report.step}/{report.steps} loss {report.loss:.4f} "
                f"held-out accuracy {report.score} after {seconds:.0f} s",
                flush=True,
            )

    def validate(candidate: AbstractLearner) -> float:
        assert validation is not None
        return held_out_score(recipe, candidate, validation, tasks=300, device=place.device)

    outcome = Trainer(
        trained,
        batches,
        recipe.settings,
        run,
        {"learner": recipe.learner, "options": recipe.config},
        validate=validate if validation is not None else None,
        report=told,
        kept=learner,
    ).fit()
    if outcome.reason == "interrupted":
        clock.write()
        raise SystemExit(f"{name} stands at step {outcome.progress.step}; it goes on from there.")
    return with_weights_of(learner, run), clock.write(finished=True)


def batches_of(
    recipe: Recipe, learner: AbstractLearner, training: Source, *, device: str = "cpu"
) -> tuple[AbstractLearner, EpisodeLoader | UnionBatches]:
    """What is trained and what it sees: tasks, or batches of all classes together."""
    seed = recipe.settings.seed
    if recipe.union_batch:
        union = UnionBatches([training], recipe.union_batch, device=device, seed=seed)
        assert isinstance(learner, EmbeddingLearner)
        return UnionClassifier(learner, len(union.classes), "linear").to(device), union
    protocol = Protocol(
        sources=(training.name,),
        n_way=(recipe.way, recipe.way),
        n_shot=(recipe.shot, recipe.shot),
        n_query=recipe.n_query,
        tasks_per_batch=recipe.tasks_per_step,
        seed=seed,
    )
    sampler = TaskSampler([training], protocol)
    if not recipe.frozen:
        return learner, EpisodeLoader(sampler, device=device)
    # The encoder stays as it is, its running statistics too: each image is encoded once.
    assert isinstance(learner, EmbeddingLearner)
    held = EncodedSource(learner.eval(), training, device=device)
    held.hold(np.arange(len(training)))
    return learner.head, EpisodeLoader(sampler, [held.of], device=device)


def held_out_curve(run: Path) -> list[tuple[int, float]]:
    """Steps and accuracies on held-out characters, in per cent."""
    lines = read_metrics(run)
    return [(x["step"], round(100 * x["validation"], 2)) for x in lines if "validation" in x]


def with_best_test_steps(
    recipe: Recipe, learner: AbstractLearner, place: Place, validation: Source, **others: Any
) -> tuple[AbstractLearner, dict[str, float]]:
    """The learner with the inner steps that do best on the held-out background characters."""
    scores: dict[int, float] = {}
    made: dict[int, AbstractLearner] = {}
    for steps in recipe.test_steps:
        made[steps] = with_test_steps(recipe, learner, place, steps, **others)
        scores[steps] = held_out_score(
            recipe, made[steps], validation, tasks=300, device=place.device
        )
    best = max(scores, key=lambda s: scores[s])
    return made[best], {str(s): round(100 * v, 2) for s, v in scores.items()}


def with_test_steps(
    recipe: Recipe, learner: AbstractLearner, place: Place, steps: int, **others: Any
) -> AbstractLearner:
    """What a learner has learned, with another number of inner steps at test (and ``others``)."""
    made = fresh_learner(recipe, place, test_steps=steps, **others).to(place.device)
    made.load_state_dict(learner.state_dict())
    return made.eval()


def fine_tuned(recipe: Recipe, place: Place, run: Path, options: dict[str, Any]) -> AbstractLearner:
    """Plain fine-tuning from the network that a recipe's learner learned to start from."""
    kept = {name: recipe.config[name] for name in ("encoder", "max_way")}
    target = Target("classes", recipe.way)
    started = with_weights_of(fresh_learner(recipe, place), run).state_dict()
    learner = build_learner("fine_tuning", kept | options, SPEC, target)
    learner.load_state_dict({name: started[name] for name in learner.state_dict()})
    return learner.eval().to(place.device)


def best_fine_tuning(
    recipe: Recipe, place: Place, run: Path, candidates: tuple[dict[str, Any], ...]
) -> tuple[dict[str, Any], list[tuple[dict[str, Any], float]]]:
    """The options that do best on held-out background characters, and what each reached there."""
    _, validation, _ = load_split(place.data, recipe.held_out, place.split)
    assert validation is not None
    tried = []
    for options in candidates:
        learner = fine_tuned(recipe, place, run, options)
        found = held_out_score(recipe, learner, validation, tasks=200, device=place.device)
        tried.append((options, round(100 * found, 2)))
    return max(tried, key=lambda one: one[1])[0], tried
