"""Trains the learners of masks: on real sets and made-up anatomies.

    python benchmarks/segmentation_training.py --data shared/data --out runs/segmentation \
        --learner conditioned_unet --steps 1500

A phase for each of --sizes, with its --steps and --rate; each is resumed where it was stopped.
``--start RUN ...``: a learner of two begins with its members, another with the U-Net of a run, and
one of the same kind with all its weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmeta.app.models import MODEL_FORMAT, load_model
from medmeta.data.mask_sources import open_mask_source
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.synthetic_structures import synthetic_structures
from medmeta.episode import InputSpec, Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.learner import AbstractLearner, LearnerConfig
from medmeta.learners import build_learner, configuration, learner_spec
from medmeta.training.checkpoint import newest_checkpoint_card
from medmeta.training.loop import Report, Trainer
from medmeta.training.settings import TrainingSettings
from medmeta.version import __version__
from segmentation_sources import Folders

ANATOMIES, PICTURES = 200, 10
TARGET = Target("masks", 2)
MEMBERS = {"conditioned_unet": "conditioned", "ridge_unet": "ridge"}  # of joint_unet
UNET, UNETS = "encoder.", ("network.encoder.", "network.0.encoder.")


def main() -> None:
    """Train one learner through its phases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--learner", default="conditioned_unet")
    parser.add_argument("--steps", type=int, nargs="+", default=[1500])
    parser.add_argument("--rate", type=float, nargs="+", default=[2e-3])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64])
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--shots", type=int, nargs=2, default=[1, 6])
    parser.add_argument("--query", type=int, default=1)
    parser.add_argument("--start", type=Path, nargs="*", default=[])
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    before: Path | None = None
    for size, steps, rate in zip(given.sizes, given.steps, given.rate, strict=True):
        run = given.out / f"{given.learner}-{size}"
        train_phase(given, run, size, steps, rate, before)
        before = run


def anatomies(cache: Path, size: int) -> Source:
    """Made-up anatomies, drawn once for all learners."""
    path = cache / f"synthetic-structures-{size}.npz"
    if not path.is_file():
        made = synthetic_structures(ANATOMIES, images=PICTURES, size=size, seed=1)
        family = made.index.column("family")
        assert made.masks is not None
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(
            path, images=made.pixels.transpose(0, 2, 3, 1), masks=made.masks,
            task=family.codes, task_names=np.array(family.names),
        )  # fmt: skip
    return open_mask_source(path, preprocessing=Preprocessing(size=size), cache=cache)


def begin_with(learner: AbstractLearner, runs: list[AbstractLearner]) -> None:
    """Trained weights in place of fresh ones: of the learner's members, or of its U-Net."""
    known: dict[str, torch.Tensor] = {}
    for trained in runs:
        member = MEMBERS.get(trained.traits.name, "")
        same = trained.traits.name == learner.traits.name
        for name, weight in trained.state_dict().items():
            known[name if same else f"{member}.{name}"] = weight
            if name.startswith(UNETS):
                known[UNET + name.split(UNET, 1)[1]] = weight
    own = learner.state_dict()
    for name, weight in own.items():
        of_unet = UNET + name.split(UNET, 1)[1] if name.startswith(UNETS) else ""
        own[name] = known.get(name, known.get(of_unet, weight))
    learner.load_state_dict(own)


def train_phase(
    given: argparse.Namespace, run: Path, size: int, steps: int, rate: float, before: Path | None
) -> None:
    """One size; it starts from the phase before, or goes on where it was stopped."""
    from medmeta.settings import options_from_texts

    config = configuration(given.learner, options_from_texts(given.set), kind="masks")
    torch.manual_seed(0)
    learner = build_learner(given.learner, config, InputSpec(3, (size, size)), TARGET)
    if before is not None and newest_checkpoint_card(run) is None:
        learner.load_state_dict(load_model(before).learner.state_dict())
    elif given.start and newest_checkpoint_card(run) is None:
        begin_with(learner, [load_model(run).learner for run in given.start])
    sources = Folders(given.data, given.out / "cache").training(size)
    sources.append(anatomies(given.out / "cache", size))
    schedule = Schedule(steps, rate, tuple(given.shots), given.query, given.device)
    fit(learner.to(given.device), config, run, size, sources, schedule)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast, on tasks of so many images, and where."""

    steps: int
    rate: float
    shots: tuple[int, int] = (1, 6)
    query: int = 1
    device: str = "cpu"
    seed: int = 0


def fit(
    learner: AbstractLearner, config: LearnerConfig, run: Path, size: int,
    sources: Sequence[Source], schedule: Schedule,
) -> None:  # fmt: skip
    """Train on tasks of all sources, or go on; the last model lies in ``run``."""
    name = learner.traits.name
    defaults = learner_spec(name).config.training_defaults
    task_map = "loop" if learner.traits.maps_tasks else "auto"
    settings = TrainingSettings(
        steps=schedule.steps, learning_rate=schedule.rate, schedule="cosine", augment="tasks",
        validate_every=0, optimiser=defaults.optimiser, clip_norm=defaults.clip_norm,
        task_map=task_map, checkpoint_every=100, log_every=20, seed=schedule.seed,
    )  # fmt: skip
    protocol = Protocol(
        sources=tuple(source.name for source in sources), kind="masks", n_way=(2, 2),
        n_shot=schedule.shots, n_query=schedule.query, tasks_per_batch=4,
        drop_small_classes=True, norm="group", seed=schedule.seed,
    )  # fmt: skip
    loader = EpisodeLoader(
        TaskSampler(sources, protocol), device=schedule.device, augment=settings.augment
    )
    card: dict[str, Any] = {
        "format": MODEL_FORMAT,
        "medmeta": __version__,
        "torch": torch.__version__,
        "learner": name,
        "paper": learner_spec(name).paper,
        "options": config.model_dump(mode="json"),
        "input_spec": {"channels": 3, "size": [size, size]},
        "target": {"kind": "masks", "size": 2},
        "preprocessing": Preprocessing(size=size).model_dump(mode="json"),
        "training": settings.model_dump(mode="json"),
        "protocol": protocol.model_dump(mode="json"),
        "sources": [{"name": source.name, "images": len(source)} for source in sources],
    }
    started = time.perf_counter()

    def report(at: Report) -> None:
        if at.step % 20 == 0:
            print(at.step, round(at.loss, 4), round(time.perf_counter() - started), flush=True)

    print(Trainer(learner, loader, settings, run, card, report=report).fit().reason, flush=True)


if __name__ == "__main__":
    main()
