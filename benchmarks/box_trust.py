"""What the estimate says of the model in the box, against what is true of it on all fresh images.

    python benchmarks/box_trust.py --tasks 100

The choice is made again in every fold, as ``medmeta adapt`` does, with the prior that comes in the
box (``benchmarks/box_prior.py``) and beside it by theory alone. A source and shot that is in
``docs/trust.json`` already, of as many tasks, is not measured again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from medical_recipes import SEED, TESTED_ON
from medmeta.app.models import load_model
from medmeta.app.trusting import prior_of
from medmeta.data.sources import open_source
from medmeta.learner import HeadedLearner
from medmeta.trust.estimate import estimate
from medmeta.trust.held_out import affordable_folds, held_out_outputs
from medmeta.trust.prior import TrustPrior
from page_tables import kept_rows
from trust_measuring import Found, Sources, fresh, mean_of
from trust_table import Row, key, write_rows

ROOT = Path(__file__).resolve().parents[1]
SHOTS = (5, 10)
BIAS, HOLDS = "box: bias of the estimate", "box: interval holds the truth"
ALONE, WIDTH = "box: interval by theory alone holds it", "box: width of the interval"
Goal = tuple[float | None, float | None]
GOALS: dict[str, Goal] = {
    BIAS: (-0.02, 0.02),
    HOLDS: (0.9, 0.99),
    ALONE: (None, None),
    WIDTH: (None, None),
}


def told(data: Sources, name: str, shot: int, n: int, prior: TrustPrior) -> NDArray[np.float64]:
    """``(T, 6)``: the estimate with its limits, the limits by theory alone, and the truth."""
    source, found = data.sources[name], []
    for asked in data.tasks(name, shot, n, SEED, together=1):
        labels, groups = asked.draw.support_labels, source.groups[asked.draw.support_rows]
        folds = affordable_folds(asked.task, groups, seed=asked.draw.task)
        logits = held_out_outputs(asked.task, folds).astype(np.float64)
        figures = [
            estimate(
                logits, labels, groups, folds, names=asked.draw.classes, prior=one,
                patients_known=False,
            ).figures["accuracy"]
            for one in (prior, TrustPrior())
        ]  # fmt: skip
        rows, truth = fresh(asked, source)
        assert asked.task.head_predictor is not None
        with torch.no_grad():
            answers = asked.task.head_predictor(data.embeddings(name, rows))[0].argmax(1).numpy()
        recalls = [(answers == k)[truth == k].mean() for k in np.unique(truth)]
        own, alone = figures
        found.append([own.value, own.low, own.high, alone.low, alone.high, np.mean(recalls)])
    return np.array(found, dtype=np.float64)


def measures(found: NDArray[np.float64]) -> dict[str, Found]:
    """Each figure, the mean over tasks."""
    value, low, high, alone_low, alone_high, truth = found.T
    return {
        BIAS: mean_of(value - truth),
        HOLDS: mean_of(((low <= truth) & (truth <= high)).astype(float)),
        ALONE: mean_of(((alone_low <= truth) & (truth <= alone_high)).astype(float)),
        WIDTH: mean_of(high - low),
    }


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--shots", type=int, nargs="+", default=list(SHOTS))
    parser.add_argument("--sources", nargs="+", default=list(TESTED_ON))
    data = ROOT.parent / "shared" / "data" / "classification"
    parser.add_argument("--data", type=Path, default=data)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(Path("medmeta-base"))
    prior = prior_of(model)
    assert prior is not None
    print(prior, flush=True)
    results, page = ROOT / "docs" / "trust.json", ROOT / "docs" / "results.md"
    for name in given.sources:
        known = {key(row): row["tasks"] for row in kept_rows(results)}
        missing = [s for s in given.shots if known.get((WIDTH, name, s), 0) < given.tasks]
        if not missing:
            continue
        source = open_source(given.data / f"{name}.npz", preprocessing=model.preprocessing)
        opened = Sources(cast(HeadedLearner, model.learner), {name: source})
        for shot in missing:
            before = time.process_time()
            rows: list[Row] = [
                {
                    "measure": measure, "source": name, "shot": shot, "tasks": given.tasks,
                    "seed": SEED, "value": round(one.value, 4), "low": round(one.low, 4),
                    "high": round(one.high, 4), "goal": list(GOALS[measure]),
                    "command": f"python benchmarks/box_trust.py --tasks {given.tasks}",
                }
                for measure, one in measures(told(opened, name, shot, given.tasks, prior)).items()
            ]  # fmt: skip
            write_rows(results, page, rows)
            print(name, shot, [r["value"] for r in rows], f"{time.process_time() - before:.0f} s")


if __name__ == "__main__":
    main()
