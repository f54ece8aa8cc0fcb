"""What ``adapt --task segmentation`` does without a run, beside each of the models it chooses from.

    python benchmarks/segmentation_default.py --data shared/data

At 128×128, as the command works, on the structures of ``docs/segmentation.json``, of which the
model in the box has seen none. *Chosen* is the command itself: what finds the marked images best
when these are left out, or with one image, where none can be, the model in the box. It answers the
first of the same tasks (it learns a dozen times for each).
Writes ``docs/segmentation_default.json`` and the table of ``docs/results.md``; what is measured
already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from medmeta.app.mask_choice import BOXED, SIZE, TRIED, adapt_without_a_run, taken, without_a_run
from medmeta.app.models import load_boxed
from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.mask_metrics import overlap
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from medmeta.storage import write_json
from page_tables import replace_between
from segmentation import SHOTS, in_all, measured, protocol_for
from segmentation_sources import Folders

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "segmentation_default.json"
BEGIN, END = "<!-- segmentation default: begin -->", "<!-- segmentation default: end -->"
CHOSEN = "chosen"
TASKS = {BOXED: 40, "pixel_ridge": 40, "pixel_forest": 20, CHOSEN: 8}
SECONDS = 10.0  # the command's own budget


def learner_called(name: str) -> AbstractLearner:
    """As the command builds it, but for two labels: a structure and what is around it."""
    if name == BOXED:
        return load_boxed(BOXED).learner
    spec, target = InputSpec(3, (SIZE, SIZE)), Target("masks", 2)
    return build_learner(name, None, spec, target).eval()


def chosen(source: Source, protocol: Protocol) -> dict[str, Any]:
    """The Dice of the command, and how often it took what."""
    started, preprocessing = time.perf_counter(), without_a_run({})
    sampler, used = TaskSampler([source], protocol), Counter[str]()
    scores, rows, by_task = [], [], []
    for task in range(protocol.episodes):
        drawn = sampler.draw(task)
        support = source.take(drawn.support_rows)
        predictor = adapt_without_a_run(
            support, preprocessing, seconds=SECONDS, seed=task, estimate=False
        )
        used[taken(predictor.card[TRIED])] += 1
        marked = predictor.answer(source.gather(drawn.query_rows)).probabilities.argmax(1)
        truth = source.gather_masks(drawn.query_rows).astype(np.int64)
        scores.append(overlap(marked, truth, 2)["dice"][:, 0])
        rows.append(drawn.query_rows)
        by_task.append(round(float(scores[-1].mean()), 4))
    return in_all(np.concatenate(scores), source.groups[np.concatenate(rows)]) | {
        "tasks": protocol.episodes,
        "images": len(np.unique(np.concatenate(rows))),
        "seconds": round(time.perf_counter() - started, 1),
        "taken": dict(used),
        "by_task": by_task,
    }


def write_table(rows: list[dict[str, Any]]) -> None:
    """Put the tables between their marks."""
    parts = [_of_shot([row for row in rows if row["shot"] == shot], shot) for shot in SHOTS]
    replace_between(ROOT / "docs" / "results.md", BEGIN, END, "\n".join(parts))


def _of_shot(rows: list[dict[str, Any]], shot: int) -> str:
    own = {(row["method"], row["structure"]): row for row in rows}
    structures = list(dict.fromkeys(row["structure"] for row in rows))
    methods = [name for name in TASKS if any((name, one) in own for one in structures)]
    lines = [f"{shot} labelled image{'' if shot == 1 else 's'}, Dice in % (number of tasks):\n"]
    lines.append("| | " + " | ".join(structures) + " | mean |")
    lines.append("|---" * (len(structures) + 2) + "|")
    for name in methods:
        found = [own.get((name, one)) for one in structures]
        cells = ["–" if row is None else f"{100 * row['dice']:.0f}" for row in found]
        mean = "–"
        if all(found):
            mean = f"{100 * np.mean([row['dice'] for row in found if row is not None]):.0f}"
        lines.append(f"| {name} ({TASKS[name]}) | " + " | ".join([*cells, mean]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is not measured yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    given = parser.parse_args()
    tests = Folders(given.data, given.cache).tests(SIZE)
    held: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    done = {(row["method"], row["structure"], row["shot"]) for row in held}
    for name in given.only:
        for structure, source in tests.items():
            for shot in SHOTS:
                protocol = protocol_for(source, shot)
                if protocol is None or (name, structure, shot) in done:
                    continue
                if name == CHOSEN and shot == 1:
                    continue  # it is the model in the box
                asked = protocol.model_copy(update={"episodes": TASKS[name]})
                if name == CHOSEN:
                    found = chosen(source, asked)
                else:
                    found = measured(learner_called(name), source, asked)
                row = {"method": name, "structure": structure, "shot": shot, **found, "size": SIZE}
                print({k: v for k, v in row.items() if k != "by_task"}, flush=True)
                held.append(row)
                write_json(RESULTS, held)
    write_table(held)


if __name__ == "__main__":
    main()
