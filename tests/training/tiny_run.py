"""A training small enough to be run dozens of times: easy pictures, a narrow network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from medmeta.training.checkpoint import STATE, WEIGHTS, model_folder, tensors_from_bytes
from medmeta.training.loop import Trainer
from medmeta.training.settings import TrainingSettings

CARD = {"what": "a test"}


def easy_source(seed: int = 0, n_classes: int = 6, each: int = 12) -> Source:
    """Each class is one random picture, seen through noise."""
    random = np.random.default_rng(seed)
    labels: NDArray[np.int64] = np.arange(n_classes).repeat(each)
    clean = random.uniform(60, 190, (n_classes, 1, 16, 16))
    noisy = clean[labels] + random.normal(0, 40, (len(labels), 1, 16, 16))
    pixels = noisy.clip(0, 255).astype(np.uint8)
    return Source.from_arrays("easy", pixels, [f"class {c}" for c in labels])


SOURCE = easy_source()
HELD_OUT = easy_source(1)


def tasks(n_tasks: int = 2, **changes: Any) -> EpisodeLoader:
    plain = {"n_way": (3, 3), "n_shot": (1, 1), "n_query": 2, "tasks_per_batch": n_tasks}
    protocol = Protocol(sources=("easy",), **{**plain, **changes})
    return EpisodeLoader(TaskSampler([SOURCE], protocol))


def tiny_learner(
    name: str = "prototypical", *, encoder: str = "conv4", options: Mapping[str, Any] | None = None
) -> AbstractLearner:
    chosen = options if options is not None else {"width": 4} if encoder == "conv4" else {}
    config = {"encoder": {"name": encoder, "options": chosen}}
    torch.manual_seed(0)
    return build_learner(name, config, InputSpec(1, (16, 16)), Target("classes", 3))


def score(learner: AbstractLearner) -> float:
    """Minus the log loss on other classes: scores that differ at every validation."""
    protocol = Protocol(
        sources=("easy",), n_way=(3, 3), n_shot=(1, 1), n_query=2, episodes=4, tasks_per_batch=4
    )
    torch.rand(3)  # a validation may use chance of its own
    return -evaluate(learner, HELD_OUT, protocol).summary["log_loss"].mean


def trainer(run: Path, learner: AbstractLearner | None = None, **settings: Any) -> Trainer:
    """A run of 12 steps that validates every 4 and saves every 3, unless told otherwise."""
    extra = {k: settings.pop(k) for k in ("validate", "report", "say", "episodes") if k in settings}
    plain = {"steps": 12, "learning_rate": 0.01, "validate_every": 4, "checkpoint_every": 3}
    return Trainer(
        learner if learner is not None else tiny_learner(),
        extra.pop("episodes", None) or tasks(),
        TrainingSettings(**{**plain, "log_every": 1, **settings}),
        run,
        CARD,
        **{"validate": score, **extra},
    )


def newest(run: Path) -> Path:
    return sorted(run.glob("checkpoint-*"))[-1]


def end_of(run: Path) -> tuple[bytes, bytes, bytes]:
    """All that a run ended with: its state, its best model, its log."""
    return (
        (newest(run) / STATE).read_bytes(),
        (model_folder(run) / WEIGHTS).read_bytes(),
        (run / "metrics.jsonl").read_bytes(),
    )


def state_of(run: Path) -> dict[str, torch.Tensor]:
    file = newest(run) / STATE
    return tensors_from_bytes(file.read_bytes(), where=file)
