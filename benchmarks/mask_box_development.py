"""The learner of ``mask_box.py`` beside what needs no training, on structures for choosing.

    python benchmarks/mask_box_development.py --data shared/data --run runs/mask-box/mask-box-128

Structures that it has not learned and that ``docs/segmentation.json`` is not measured on: of
``multi_tasks`` those that other learners are trained on, the skin and the cells. What is chosen
(how long, at what size, whether at all) is chosen here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from mask_box import OF_COLLECTION
from medmeta.app.models import load_model
from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from segmentation import measured, protocol_for
from segmentation_sources import COLLECTION, OVERLAPPING, TEST_FAMILIES, Folders, of_family

SETS, SHOTS = ("ph2", "wbc1"), (1, 3, 5)


def structures(folders: Folders, size: int) -> dict[str, Source]:
    """Each structure's pictures, one family or set at a time."""
    found = {name: folders.opened(name, size) for name in SETS}
    collection = folders.opened(COLLECTION, size)
    for name in collection.index.column("family").names:
        if name not in (*TEST_FAMILIES, *OVERLAPPING, OF_COLLECTION):
            found[name] = of_family(collection, name)
    return found


def main() -> None:
    """Measure, and say the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--tasks", type=int, default=10)
    given = parser.parse_args()
    spec, target = InputSpec(3, (given.size, given.size)), Target("masks", 2)
    torch.manual_seed(0)
    learners: dict[str, AbstractLearner] = {
        "box": load_model(given.run).learner.eval(),
        "pixel_ridge": build_learner("pixel_ridge", None, spec, target).eval(),
    }
    rows: dict[tuple[str, int], list[float]] = {}
    for name, source in structures(Folders(given.data, given.cache), given.size).items():
        for shot in SHOTS:
            protocol = protocol_for(source, shot)
            if protocol is None:
                continue
            asked = protocol.model_copy(update={"episodes": given.tasks})
            dice = {who: measured(one, source, asked)["dice"] for who, one in learners.items()}
            print(name, shot, dice, flush=True)
            for who, value in dice.items():
                rows.setdefault((who, shot), []).append(value)
    for (who, shot), values in sorted(rows.items()):
        print(f"{who} {shot}: {np.mean(values):.3f} over {len(values)} structures")


if __name__ == "__main__":
    main()
