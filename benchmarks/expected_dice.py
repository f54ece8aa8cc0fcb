"""How well the Dice to expect goes with the Dice there is, on structures never trained on.

    python benchmarks/expected_dice.py --data shared/data --run RUN

Writes ``docs/expected_dice.json``: by structure, how far the answers agree, the Dice to expect
(by marked images that were left out) and the Dice there is, over query images of tasks of five
images of two patients or more; the mean error of the expectation, and Spearman's correlation.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from medmeta.app.held_out_masks import HELD_OUT
from medmeta.app.mask_workbench import adapt_masks
from medmeta.app.models import load_model
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.mask_metrics import overlap
from medmeta.storage import write_json
from segmentation import SIZE, protocol_for
from segmentation_sources import Folders

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "expected_dice.json"
SHOT, TASKS = 5, 6


def main() -> None:
    """Ask each structure's tasks, with uncertainty, and hold it against the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    given = parser.parse_args()
    model, found = load_model(given.run), list[dict[str, Any]]()
    for name, source in Folders(given.data, given.run.parent / "cache").tests(SIZE).items():
        protocol = protocol_for(source, SHOT)
        if protocol is None:
            continue
        sampler, told, true = TaskSampler([source], protocol), list[float](), list[float]()
        agreed, alone = list[float](), 0
        for task in range(TASKS):
            drawn = sampler.draw(task)
            support = source.take(drawn.support_rows)
            predictor = adapt_masks(model, support, seed=task, estimate=True)
            if HELD_OUT not in predictor.card:
                alone += 1
                continue
            answer = predictor.answer(source.gather(drawn.query_rows), uncertainty=True)
            truth = source.gather_masks(drawn.query_rows).astype(np.int64)
            marked = answer.probabilities.argmax(1)
            assert answer.expected_dice is not None
            assert answer.agreement is not None
            agreed += answer.agreement[:, 0].tolist()
            told += answer.expected_dice[:, 0].tolist()
            true += overlap(marked, truth, 2)["dice"][:, 0].tolist()
        if not true:
            print(f"{name}: all its tasks are of one patient, of which no figure is given")
            continue
        row = {
            "structure": name,
            "shot": SHOT,
            "images": len(true),
            "tasks_of_one_patient": alone,
            "correlation": round(float(spearmanr(told, true).statistic), 3),
            "agreement": round(float(np.mean(agreed)), 3),
            "error": round(float(np.abs(np.subtract(told, true)).mean()), 3),
            "expected": round(float(np.mean(told)), 3),
            "dice": round(float(np.mean(true)), 3),
        }
        print(row, flush=True)
        found.append(row)
        write_json(RESULTS, found)


if __name__ == "__main__":
    main()
