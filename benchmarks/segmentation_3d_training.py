"""Trains a conditioned U-Net of volumes on made-up anatomies in three dimensions.

    python benchmarks/segmentation_3d_training.py --out runs/segmentation_3d --steps 600

Goes on where it was stopped. ``--start RUN`` begins with the weights of another run.
``segmentation_3d.py`` measures it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

import medmeta
from medmeta.app.models import MODEL_FORMAT, load_model
from medmeta.episode import Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.learners import build_learner, configuration, learner_spec
from medmeta.training.checkpoint import newest_checkpoint_card
from medmeta.training.loop import Report, Trainer
from medmeta.version import __version__

LEARNER, TARGET = "conditioned_unet", Target("masks", 2)
SIDE, WIDTH, LEVELS = 24, 8, 4
ANATOMIES, VOLUMES, SEED = 1500, 6, 1


def main() -> None:
    """Draw the anatomies and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--tasks", type=int, default=2, help="of a step")
    parser.add_argument("--anatomies", type=int, default=ANATOMIES)
    parser.add_argument("--start", type=Path)
    given = parser.parse_args()
    started = time.perf_counter()
    made = medmeta.synthetic_structures(
        given.anatomies, images=VOLUMES, size=SIDE, depth=SIDE, channels=1, seed=SEED
    )
    run = given.out / f"{LEARNER}-{SIDE}"
    preprocessing = medmeta.Preprocessing(size=SIDE, depth=SIDE, channels=1)
    config = configuration(LEARNER, {"width": WIDTH, "levels": LEVELS}, kind="masks")
    torch.manual_seed(0)
    learner = build_learner(LEARNER, config, preprocessing.input_spec, TARGET)
    if given.start is not None and newest_checkpoint_card(run) is None:
        learner.load_state_dict(load_model(given.start).learner.state_dict())
    settings = medmeta.TrainingSettings(
        steps=given.steps, learning_rate=2e-3, schedule="cosine", augment="tasks",
        validate_every=0, checkpoint_every=100, log_every=20, task_map="auto",
    )  # fmt: skip
    protocol = Protocol(
        sources=(made.name,), kind="masks", n_way=(2, 2), n_shot=(1, 3), n_query=1,
        tasks_per_batch=given.tasks, drop_small_classes=True, norm="group", seed=0,
    )  # fmt: skip
    card: dict[str, Any] = {
        "format": MODEL_FORMAT,
        "medmeta": __version__,
        "torch": torch.__version__,
        "learner": LEARNER,
        "paper": learner_spec(LEARNER).paper,
        "options": config.model_dump(mode="json"),
        "input_spec": {"channels": 1, "size": [SIDE, SIDE, SIDE]},
        "target": {"kind": "masks", "size": 2},
        "preprocessing": preprocessing.model_dump(mode="json"),
        "training": settings.model_dump(mode="json"),
        "protocol": protocol.model_dump(mode="json"),
        "sources": [{"name": made.name, "images": len(made)}],
    }

    def report(at: Report) -> None:
        if at.step % 20 == 0:
            print(at.step, round(at.loss, 4), round(time.perf_counter() - started), flush=True)

    loader = EpisodeLoader(TaskSampler([made], protocol), augment=settings.augment)
    print(Trainer(learner, loader, settings, run, card, report=report).fit().reason, flush=True)


if __name__ == "__main__":
    main()
