"""Trains a conditioned U-Net of volumes on made-up anatomies in three dimensions.

    python benchmarks/segmentation_3d_training.py --out runs/segmentation_3d --steps 1500

Goes on where it was stopped. ``segmentation_3d.py`` measures it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import medmeta
from medmeta.training.checkpoint import newest_checkpoint_card
from medmeta.training.loop import Report

SIDE, WIDTH, LEVELS = 24, 8, 4
ANATOMIES, VOLUMES, SEED = 1500, 6, 1


def request_for(steps: int, side: int) -> medmeta.TrainRequest:
    """What is trained: patches of ``side`` voxels along each edge, one structure at a time."""
    return medmeta.TrainRequest(
        learner="conditioned_unet",
        target="masks",
        shot="1-3",
        query=1,
        tasks_per_step=4,
        options={"width": WIDTH, "levels": LEVELS},
        preprocessing=medmeta.Preprocessing(size=side, depth=side, channels=1),
        training=medmeta.TrainingSettings(
            steps=steps, learning_rate=2e-3, schedule="cosine", augment="tasks",
            checkpoint_every=100, log_every=20, validate_every=0,
        ),
        validation="none",
        drop_small=True,
    )  # fmt: skip


def main() -> None:
    """Draw the anatomies and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--anatomies", type=int, default=ANATOMIES)
    given = parser.parse_args()
    started = time.perf_counter()
    made = medmeta.synthetic_structures(
        given.anatomies, images=VOLUMES, size=given.side, depth=given.side, channels=1, seed=SEED
    )
    print(f"{len(made)} volumes in {time.perf_counter() - started:.0f} s", flush=True)
    run = given.out / f"conditioned_unet-{given.side}"

    def report(at: Report) -> None:
        if at.step % 20 == 0:
            print(at.step, round(at.loss, 4), round(time.perf_counter() - started), flush=True)

    resume = newest_checkpoint_card(run) is not None
    request = request_for(given.steps, given.side)
    done = medmeta.train(request, run, resume=resume, sources=[made], report=report)
    print(done.outcome.reason, flush=True)


if __name__ == "__main__":
    main()
