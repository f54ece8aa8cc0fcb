"""Structures in volumes, from one to three marked ones: in three dimensions, and slice by slice.

    python benchmarks/segmentation_3d.py --data shared/data \
        --run runs/segmentation_3d/conditioned_unet-24 --flat runs/segmentation/conditioned_unet-64

``--run`` is that of ``segmentation_3d_training.py``, ``--flat`` the conditioned U-Net of pictures.
Writes ``docs/segmentation_3d.json`` and the table of ``docs/results.md``. What is measured already
is not measured again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.app.mask_answers import along_slices
from medmeta.app.mask_predictor import labelled
from medmeta.app.models import load_model
from medmeta.data.mask_shape import prepare_mask, restored
from medmeta.data.preprocess import Preprocessing, as_float, prepare
from medmeta.episode import InputSpec, Target
from medmeta.evaluation.intervals import summarise
from medmeta.evaluation.mask_metrics import overlap
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from medmeta.storage import write_json
from page_tables import kept_rows, replace_between
from segmentation_3d_sources import SIDE, Blocks, brain_blocks, made_blocks

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "segmentation_3d.json"
BEGIN, END = "<!-- segmentation 3d: begin -->", "<!-- segmentation 3d: end -->"
SHOTS, TARGET = (1, 3), Target("masks", 2)
SCRATCH = {
    "initial": "fresh", "test_steps": 60, "rate": 5e-3,
    "encoder": {"options": {"width": 8, "levels": 3}},
}  # fmt: skip
FLAT, OF_A_VOLUME = Preprocessing(size=64), 8  # slices of each marked volume
Marker = Callable[[Blocks, int], NDArray[np.bool_]]
"""A task and its shot to what is marked on the volume that is asked about."""


@dataclass(frozen=True)
class Method:
    """A row of the table; ``tasks``: of each set, at most so many (what takes long)."""

    name: str
    mark: Marker
    tasks: int = 1000


def methods(run: Path, flat: Path) -> list[Method]:
    """All that is compared; without the run's row where there is no run yet."""
    spec, pictures = InputSpec(1, (SIDE,) * 3), InputSpec(3, (FLAT.size,) * 2)
    of_pictures = load_model(flat).learner.eval()
    trained = [load_model(run).learner.eval()] if run.is_dir() else []
    ridge = build_learner("pixel_ridge", None, spec, TARGET).eval()
    flat_ridge = build_learner("pixel_ridge", None, pictures, TARGET).eval()
    placed = {"encoder": {"options": {"place": True}}}
    with_place = build_learner("pixel_ridge", placed, spec, TARGET).eval()
    scratch = build_learner("tuned_unet", SCRATCH, spec, TARGET).eval()
    return [
        *(Method("3-D conditioned U-Net", in_space(learner)) for learner in trained),
        Method("2-D conditioned U-Net, slice by slice", by_slices(of_pictures)),
        Method("3-D ridge on pixels, filters", in_space(ridge)),
        Method("3-D ridge on pixels, filters and place", in_space(with_place)),
        Method("2-D ridge on pixels, filters and place, slice by slice", by_slices(flat_ridge)),
        Method("3-D U-Net from scratch", in_space(scratch), tasks=2),
    ]


def in_space(learner: AbstractLearner) -> Marker:
    """Volumes as they are."""

    def mark(task: Blocks, shot: int) -> NDArray[np.bool_]:
        support = labelled(task.pixels[:shot, None], task.masks[:shot], 0)
        asked = as_float(torch.from_numpy(task.pixels[-1:, None]))[None]
        with torch.no_grad():
            answers = learner.adapt(support, TARGET)(asked)
        return np.asarray(answers[0, 0].argmax(0).numpy() == 1)

    return mark


def by_slices(learner: AbstractLearner) -> Marker:
    """Of each marked volume up to eight slices, those that are marked; each slice is asked about.

    As ``medmeta predict`` marks volumes slice by slice: each has a quarter of its neighbours.
    """

    def mark(task: Blocks, shot: int) -> NDArray[np.bool_]:
        pixels, masks = [], []
        for volume, mask in zip(task.pixels[:shot], task.masks[:shot], strict=True):
            marked = np.flatnonzero(mask.any((1, 2)))
            places = np.linspace(0, len(marked) - 1, min(OF_A_VOLUME, len(marked)))
            for place in marked[np.rint(places).astype(int)].tolist():
                pixels.append(prepare(volume[place], FLAT))
                masks.append(prepare_mask(mask[place], FLAT))
        support = labelled(np.stack(pixels), np.stack(masks), 0)
        asked = np.stack([prepare(one, FLAT) for one in task.pixels[-1]])
        with torch.no_grad():
            answers = learner.adapt(support, TARGET)(as_float(torch.from_numpy(asked))[None])
        each = answers[0].softmax(1).numpy()
        found = along_slices([restored(one, SIDE, SIDE, FLAT) for one in each])
        return np.stack([one.argmax(0) == 1 for one in found])

    return mark


def measured(method: Method, tasks: list[Blocks], shot: int) -> dict[str, Any]:
    """Dice in space, with an interval over structures."""
    started, scores = time.perf_counter(), []
    for task in tasks[: method.tasks]:
        given = method.mark(task, shot).astype(np.int64)
        truth = task.masks[-1].astype(np.int64)
        scores.append(float(overlap(given[None], truth[None], 2, axes=3)["dice"][0, 0]))
    return figures(scores, time.perf_counter() - started)


def figures(scores: list[float], seconds: float) -> dict[str, Any]:
    """A row's numbers: of the Dice of each task, and how long all took."""
    summary = summarise(np.array(scores))
    return {
        "dice": round(float(np.mean(scores)), 4),
        "low": round(max(0.0, summary.low), 4) if len(scores) > 2 else None,
        "high": round(min(1.0, summary.high), 4) if len(scores) > 2 else None,
        "tasks": len(scores),
        "seconds_each": round(seconds / len(scores), 2),
        "by_task": [round(score, 4) for score in scores],
    }


def usable(task: Blocks, shot: int) -> bool:
    """Whether every volume of the support, and the one asked about, is marked."""
    there = (task.masks > 0).sum((1, 2, 3)) >= 8
    return len(there) > shot and bool(there[:shot].all() and there[-1])


def write_table(rows: list[dict[str, Any]]) -> None:
    """Dice in % by set and shot."""
    parts = []
    for shot in SHOTS:
        own = {(r["learner"], r["set"]): r for r in rows if r["shot"] == shot}
        sets = list(dict.fromkeys(name for _, name in own))
        lines = [f"{shot} marked volume{'s' * (shot > 1)}, Dice in % [95 % interval]:\n"]
        lines += ["| learner | " + " | ".join(sets) + " | s |", "|---" * (len(sets) + 2) + "|"]
        for name in dict.fromkeys(name for name, _ in own):
            found = [own.get((name, one)) for one in sets]
            known = [row["seconds_each"] for row in found if row is not None]
            cells = [_cell(row) for row in found]
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {np.median(known):.1f} |")
        parts.append("\n".join(lines) + "\n")
    replace_between(ROOT / "docs" / "results.md", BEGIN, END, "\n".join(parts))


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    if row["low"] is None:
        return f"{100 * row['dice']:.0f} ({row['tasks']})"
    return f"{100 * row['dice']:.0f} [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"


def main() -> None:
    """Measure what is not measured yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--flat", type=Path, required=True)
    given = parser.parse_args()
    sets: dict[str, list[Blocks]] = {}
    for task in (*made_blocks(), *brain_blocks(given.data)):
        sets.setdefault(task.group, []).append(task)
    rows = kept_rows(RESULTS)
    done = {(row["learner"], row["set"], row["shot"]) for row in rows}
    for method in methods(given.run, given.flat):
        for shot in SHOTS:
            for name, tasks in sets.items():
                asked = [task for task in tasks if usable(task, shot)]
                if (method.name, name, shot) in done or not asked:
                    continue
                found = measured(method, asked, shot)
                rows.append({"learner": method.name, "set": name, "shot": shot, **found})
                print(rows[-1], flush=True)
                write_json(RESULTS, rows)
    write_table(rows)


if __name__ == "__main__":
    main()
