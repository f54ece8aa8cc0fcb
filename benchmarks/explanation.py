"""Maps of where answers come from, against random maps and shuffled weights; and their speed.

    python benchmarks/medical.py --part train --learner prototypical   the run (or --run another)
    python benchmarks/explanation.py                                   all test sources
    python benchmarks/explanation.py --speed                           maps per second alone

Tasks are those of ``benchmarks/trust.py``, of each four query images. What is in
``docs/explanation.json`` already is not measured again (``--again``); the table of
``docs/reports.md`` is written anew after each figure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch

from medical_measuring import IMAGES
from medical_recipes import SEED, TESTED_ON
from medmeta.app.models import load_model
from medmeta.data.preprocess import as_float
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.learner import AdaptedTask, HeadedLearner, adapt_task
from medmeta.learners import build_learner
from medmeta.storage import write_json
from medmeta.trust.explanation import occlusion_maps
from medmeta.trust.explanation_curves import deletion_and_insertion, random_maps
from medmeta.trust.explanation_sanity import check_weights_matter
from page_tables import kept_rows, replace_between
from trust_measuring import Found, Sources, mean_of
from trust_table import Row, key, table

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- explanation table: begin -->", "<!-- explanation table: end -->"
SHOTS = (5, 10)
IMAGES_PER_TASK, CURVE_STEPS = 4, 10
DELETION = "deletion area less that of random maps"
INSERTION = "insertion area less that of random maps"
WEIGHTS = "rank correlation with maps by shuffled weights"
# Bounds: the maps must be better than random, and change with the weights.
GOALS = {DELETION: [None, 0.0], INSERTION: [0.0, None], WEIGHTS: [None, 0.7]}


def whole_tasks(
    data: Sources, name: str, shot: int, n: int
) -> Iterator[tuple[AdaptedTask, torch.Tensor]]:
    """Tasks adapted to images, each with some query images ``(q, C, H, W)``."""
    source: Source = data.sources[name]
    for number, asked in enumerate(data.tasks(name, shot, n, SEED)):
        images = as_float(torch.from_numpy(source.gather(asked.draw.support_rows)))[None]
        labels = torch.from_numpy(asked.draw.support_labels)[None]
        with torch.no_grad():
            support = LabelledSet(images, labels, torch.tensor([number]))
            task = adapt_task(data.learner, support, Target("classes", asked.task.target.size))
        random = np.random.default_rng([SEED, number])
        rows = random.choice(asked.draw.query_rows, IMAGES_PER_TASK, replace=False)
        yield task, as_float(torch.from_numpy(source.gather(rows)))


def measured(data: Sources, name: str, shot: int, n: int) -> dict[str, Found]:
    """Each measure, the mean over tasks."""
    found: dict[str, list[float]] = {measure: [] for measure in GOALS}
    for number, (task, images) in enumerate(whole_tasks(data, name, shot, n)):
        maps = occlusion_maps(task, images)
        told = deletion_and_insertion(task, images, maps, steps=CURVE_STEPS)
        chance = random_maps(len(maps), maps.shape[1:], seed=number)
        other = deletion_and_insertion(task, images, chance, steps=CURVE_STEPS)
        found[DELETION].append(float((told.deletion_area - other.deletion_area).mean()))
        found[INSERTION].append(float((told.insertion_area - other.insertion_area).mean()))
        check = check_weights_matter(task, images, seed=number, known=maps)
        found[WEIGHTS].append(check.mean)
    return {measure: mean_of(np.array(values)) for measure, values in found.items()}


def speed(n: int = 64) -> None:
    """Occlusion maps per second: an untrained Conv-4 with 64 filters, images of 64×64."""
    learner = build_learner("prototypical", None, InputSpec(3, (64, 64)), Target("classes", 5))
    support = LabelledSet(
        torch.randn(1, 25, 3, 64, 64), torch.arange(5).repeat(5)[None], torch.zeros(1)
    )
    with torch.no_grad():
        task = adapt_task(learner.eval(), support, Target("classes", 5))
    images = torch.randn(n, 3, 64, 64)
    occlusion_maps(task, images[:8])
    wall, own = time.perf_counter(), time.process_time()
    occlusion_maps(task, images)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    print(
        f"{n} occlusion maps on {torch.get_num_threads()} threads: {n / wall:.1f} a second; "
        f"{n / own:.1f} a second of one core's time"
    )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--speed", action="store_true", help="only how fast maps are")
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "medical-prototypical")
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data" / "classification"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "explanation.json")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.speed:
        speed()
        return
    learner = cast(HeadedLearner, load_model(given.run).learner)
    for name in TESTED_ON:
        source = open_source(given.data / f"{name}.npz", preprocessing=IMAGES)
        data = Sources(learner, {name: source})
        for shot in SHOTS:
            kept = {key(row): row for row in kept_rows(given.out)}
            if not given.again and all((m, name, shot) in kept for m in GOALS):
                continue
            for measure, figure in measured(data, name, shot, given.tasks).items():
                row: Row = {
                    "measure": measure, "source": name, "shot": shot, "tasks": given.tasks,
                    "seed": SEED, "value": round(figure.value, 4), "low": round(figure.low, 4),
                    "high": round(figure.high, 4), "goal": GOALS[measure],
                    "command": f"python benchmarks/explanation.py --tasks {given.tasks}",
                }  # fmt: skip
                kept[key(row)] = row
                print(measure, name, shot, row["value"], row["low"], row["high"], flush=True)
            rows = [kept[k] for k in sorted(kept)]
            write_json(given.out, rows)
            replace_between(ROOT / "docs" / "reports.md", BEGIN, END, table(rows))


if __name__ == "__main__":
    main()
