"""Vessels outlined on a few images, and marked on the rest: train a little, adapt to three, ask.

Run it with ``python examples/segment_vessels.py``; it takes about a minute on made-up vessels and
writes nothing but a temporary folder. With ``--data FILE.npz`` (``images`` and ``masks``, such as
the tiles of DRIVE) it marks yours; the model never saw vessels of either kind.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import medmeta
from medmeta.data.synthetic_structures import synthetic_structures
from medmeta.evaluation.mask_metrics import centreline_dice, overlap


def vessels(size: int, n: int) -> medmeta.Source:
    """Made-up pictures of one kind of branching tubes, the first structure of each."""
    source = synthetic_structures(1, images=n, size=size, seed=3, kinds=("tubes",))
    assert source.masks is not None
    return replace(source, masks=(source.masks == 1).astype(np.uint8))


def main() -> None:
    """Train on made-up structures without tubes, learn vessels from three images, mark others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    prepared = medmeta.Preprocessing(size=arguments.size)
    kinds = ("regions", "organs", "cells")
    training = synthetic_structures(20, images=9, size=arguments.size, seed=1, kinds=kinds)
    if arguments.data is None:
        asked = vessels(arguments.size, 12)
    else:
        asked = medmeta.open_mask_source(arguments.data, preprocessing=prepared)
    asked = replace(asked, index=replace(asked.index, structures=("vessel",)))
    request = medmeta.TrainRequest(
        learner="conditioned_unet",
        target="masks",
        shot="1-5",
        query=2,
        preprocessing=prepared,
        training=medmeta.TrainingSettings(steps=arguments.steps, augment="tasks"),
        validation="none",
        drop_small=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        medmeta.train(request, run, sources=[training])
        model = medmeta.load_model(run)
        first = np.arange(3)
        predictor = medmeta.adapt_masks(model, asked.take(first), estimate=True)
        others = np.flatnonzero(~np.isin(asked.groups, asked.groups[first]))[:20]
        answer = predictor.answer(asked.gather(others), uncertainty=True)
    marked, truth = answer.probabilities.argmax(1), asked.gather_masks(others).astype(np.int64)
    dice = overlap(marked, truth, 2)["dice"].mean()
    lines = [centreline_dice(a == 1, b == 1) for a, b in zip(marked, truth, strict=True)]
    assert answer.expected_dice is not None
    print(
        f"{len(others)} images of other patients: Dice {dice:.2f} (expected without the truth: "
        f"{answer.expected_dice.mean():.2f}), of centre lines {np.mean(lines):.2f}"
    )


if __name__ == "__main__":
    main()
