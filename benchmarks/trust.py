"""What trust says of a task against what is true of it, on sources that nothing was trained on.

    python benchmarks/medical.py --part train --learner prototypical   the run (or --run another)
    python benchmarks/trust.py                                         all parts, 300 tasks each
    python benchmarks/trust.py --part calibration --tasks 100          one part, fewer tasks

The prior is learned on the sources that the run was trained on. What is in ``docs/trust.json``
already is not measured again (``--again``); the table of ``docs/results.md`` is written anew after
each figure. How many tasks a figure is of stands beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch

from medical_measuring import IMAGES
from medical_recipes import SEED, TESTED_ON, TRAINED_ON
from medmeta.app.models import load_model
from medmeta.data.sources import open_source
from medmeta.learner import HeadedLearner
from medmeta.storage import write_json
from medmeta.trust.conformal import exact_coverage, fewest_images
from medmeta.trust.prior import TrustPrior
from medmeta.trust.source_tasks import AskedTask, learn_prior
from page_tables import kept_rows
from trust_labelling import compared_areas
from trust_measuring import (
    LEVEL,
    MOST_ASKED,
    Found,
    NoveltyAsked,
    Sources,
    area,
    coverages,
    estimates,
    mean_of,
    pooled_error,
    probabilities,
    without_class,
)
from trust_table import Row, key, write_rows

ROOT = Path(__file__).resolve().parents[1]
SHOTS = (5, 10)
NOVELTY_TASKS, SUGGEST_TASKS = 100, 60  # each asks hundreds of images
PARTS = ("calibration", "sets", "estimate", "novelty", "suggest")
Goal = tuple[float | None, float | None]


@dataclass
class Bench:
    """The run with its prior, the sources, and where figures are kept."""

    data: Sources
    prior: TrustPrior
    results: Path
    page: Path
    tasks: int
    again: bool

    def is_done(self, measure: str, source: str, shot: int, most: int | None = None) -> bool:
        """Whether a figure is kept, of as many tasks at least."""
        known = {key(row): row for row in kept_rows(self.results)}
        row = known.get((measure, source, shot))
        enough = min(self.tasks, most or self.tasks)
        return row is not None and row["tasks"] >= enough and not self.again

    def keep(
        self, measure: str, source: str, shot: int, found: Found, goal: Goal, tasks: int, part: str
    ) -> None:
        """Write one figure."""
        row: Row = {
            "measure": measure, "source": source, "shot": shot, "tasks": tasks, "seed": SEED,
            "value": round(found.value, 4), "low": round(found.low, 4),
            "high": round(found.high, 4), "goal": list(goal),
            "command": f"python benchmarks/trust.py --part {part} --tasks {self.tasks}",
        }  # fmt: skip
        print(measure, source, shot, row["value"], row["low"], row["high"], goal, flush=True)
        write_rows(self.results, self.page, [row])

    def drawn(self, source: str, shot: int, n: int | None = None) -> list[AskedTask]:
        """The tasks of a source, the same for all parts."""
        return list(self.data.tasks(source, shot, n or self.tasks, SEED))


def calibration(bench: Bench, source: str, shot: int) -> None:
    """Expected calibration error before and after; the goal is 0.05, or half of before."""
    if bench.is_done("ECE after", source, shot):
        return
    tasks = bench.drawn(source, shot)
    before, right, after, right_after = probabilities(
        tasks, bench.data.sources[source], bench.prior
    )
    first = pooled_error(before, right)
    bench.keep("ECE before", source, shot, first, (None, None), len(tasks), "calibration")
    goal = max(0.05, round(first.value / 2, 4))
    second = pooled_error(after, right_after)
    bench.keep("ECE after", source, shot, second, (None, goal), len(tasks), "calibration")


def sets(bench: Bench, source: str, shot: int) -> None:
    """Coverage of 90 % sets against what is exact for so many images, and their size."""
    if bench.is_done("size of 90 % sets", source, shot):
        return
    tasks = bench.drawn(source, shot)
    way = tasks[0].task.target.size
    for per_class in (False, True):
        n = shot if per_class else shot * way
        if n < fewest_images(LEVEL):
            continue  # no guarantee is possible, and the software says so
        covered = coverages(tasks, bench.data, source, per_class=per_class)
        exact = exact_coverage(n, LEVEL)
        name = "90 % sets within classes" if per_class else "90 % sets"
        goal = (round(exact - 0.02, 4), round(exact + 0.02, 4))
        found = mean_of(covered[:, 0])
        bench.keep(f"coverage of {name}", source, shot, found, goal, len(tasks), "sets")
        size = mean_of(covered[:, 1])
        bench.keep(f"size of {name}", source, shot, size, (None, None), len(tasks), "sets")


def estimate(bench: Bench, source: str, shot: int) -> None:
    """The single-task estimate against the truth on all fresh images."""
    if bench.is_done("estimate: interval holds the truth", source, shot):
        return
    tasks = bench.drawn(source, shot)
    told = estimates(tasks, bench.data, source, bench.prior)
    bias = mean_of(told[:, 0] - told[:, 3])
    bench.keep("estimate: bias", source, shot, bias, (-0.02, 0.02), len(tasks), "estimate")
    width = mean_of(told[:, 2] - told[:, 1])
    bench.keep("estimate: width", source, shot, width, (None, None), len(tasks), "estimate")
    holds = mean_of(((told[:, 1] <= told[:, 3]) & (told[:, 3] <= told[:, 2])).astype(float))
    measure = "estimate: interval holds the truth"
    bench.keep(measure, source, shot, holds, (0.9, 0.99), len(tasks), "estimate")


def novelty(bench: Bench, source: str, shot: int) -> None:
    """AUROC against three other modalities, altered images and a class left out."""
    if bench.is_done("novelty: false alarms", source, shot, NOVELTY_TASKS):
        return
    others = [name for name in bench.data.sources if name != source]
    found: dict[str, list[float]] = {}
    tasks = bench.drawn(source, shot, min(bench.tasks, NOVELTY_TASKS))
    for number, asked in enumerate(tasks):
        random = np.random.default_rng([SEED, number])
        detector = NoveltyAsked(asked, bench.data, source)
        own = bench.data.sources[source].gather(asked.draw.query_rows)
        ordinary = detector.of_rows(source, asked.draw.query_rows)
        found.setdefault("false alarms", []).append(float(ordinary.flagged.mean()))
        for name in others:
            rows = random.choice(len(bench.data.sources[name]), MOST_ASKED, replace=False)
            there = detector.of_rows(name, rows)
            found.setdefault(f"AUROC against {name}", []).append(area(ordinary, there))
        altered = {
            "inverted": 255 - own,
            "blank": np.full_like(own[:4], 0) + random.integers(0, 256, (4, 1, 1, 1), np.uint8),
            "noise": random.integers(0, 256, own.shape, dtype=np.uint8),
        }
        for name, pixels in altered.items():
            there = detector.of_pixels(pixels)
            found.setdefault(f"AUROC against {name}", []).append(area(ordinary, there))
        if asked.task.target.size > 2:
            _class_left_out(bench, source, asked, number, found)
    for name, values in found.items():
        modality = name.startswith("AUROC") and not name.endswith("a class left out")
        goal: Goal = (0.95, None) if modality else (None, None)
        figure = mean_of(np.array(values))
        bench.keep(f"novelty: {name}", source, shot, figure, goal, len(values), "novelty")


def _class_left_out(
    bench: Bench, source: str, asked: AskedTask, number: int, found: dict[str, list[float]]
) -> None:
    left_out = number % asked.task.target.size
    detector = NoveltyAsked(without_class(asked, left_out), bench.data, source)
    novel = asked.draw.query_labels == left_out
    rows = asked.draw.query_rows
    ordinary, there = (detector.of_rows(source, rows[part]) for part in (~novel, novel))
    found.setdefault("AUROC against a class left out", []).append(area(ordinary, there))


def suggest(bench: Bench, source: str, shot: int) -> None:
    """Area under the label curve, of what is suggested less that of a random choice."""
    measure = "suggest less random, area under the label curve"
    if shot != SHOTS[0] or bench.is_done(measure, source, shot, SUGGEST_TASKS):
        return
    n = min(bench.tasks, SUGGEST_TASKS)
    gaps = compared_areas(bench.data, source, n, SEED)
    bench.keep(measure, source, shot, mean_of(gaps), (0.0, None), n, "suggest")


def learned_prior(run: Path, learner: HeadedLearner, data: Path) -> TrustPrior:
    """The prior by the sources that the run was trained on; kept beside the run."""
    held = run / "trust-prior.json"
    if held.exists():
        return TrustPrior.from_dict(json.loads(held.read_text()), where=str(held))
    sources = [open_source(data / f"{s}.npz", preprocessing=IMAGES) for s in TRAINED_ON]
    prior = learn_prior(learner, sources, tasks=200, seed=SEED)
    assert prior is not None
    write_json(held, prior.to_dict())
    return prior


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "medical-prototypical")
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data" / "classification"
    )
    parser.add_argument("--sources", nargs="+", default=list(TESTED_ON))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "trust.json")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    learner = cast(HeadedLearner, load_model(given.run).learner)
    prior = learned_prior(given.run, learner, given.data)
    print(prior, flush=True)
    opened = {s: open_source(given.data / f"{s}.npz", preprocessing=IMAGES) for s in TESTED_ON}
    page = ROOT / "docs" / "results.md"
    bench = Bench(Sources(learner, opened), prior, given.out, page, given.tasks, given.again)
    parts: dict[str, Callable[[Bench, str, int], None]] = {
        "calibration": calibration,
        "sets": sets,
        "estimate": estimate,
        "novelty": novelty,
        "suggest": suggest,
    }
    for part in given.part:
        for source in given.sources:
            for shot in SHOTS:
                parts[part](bench, source, shot)


if __name__ == "__main__":
    main()
