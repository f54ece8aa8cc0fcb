"""Few-shot segmentation of structures never trained on: every learner and baseline, the same tasks.

    python benchmarks/segmentation.py --data shared/data --runs runs/segmentation

Reads the runs of ``segmentation_training.py`` and writes ``docs/segmentation.json`` and, made from
it, the table of ``docs/results.md``. What is measured already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.app.mask_choice import BOXED
from medmeta.app.models import load_boxed, load_model
from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.episodes.pools import structure_pools
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.answers import from_images
from medmeta.evaluation.intervals import summarise
from medmeta.evaluation.mask_metrics import overlap
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from medmeta.storage import write_json
from segmentation_sources import Folders
from segmentation_table import write_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "segmentation.json"
SIZE, SHOTS, SEED = 64, (1, 5, 10), 2026
FEW = (1, 5)  # of what takes long in each task
CURVES = {"busi": (2, 4, 8, 16, 32, 64), "drive_vessels": (2, 4, 8, 16)}
OF_CURVES = ("joint_unet", "conditioned_unet")
TASKS, QUERIES = 12, 10
NARROW = {"encoder": {"options": {"width": 8}}}
FOLDED = {"encoder": {"options": {"width": 8, "fold": 2, "levels": 3}}}
TUNED = {**NARROW, "test_steps": 60, "rate": 5e-3}


@dataclass(frozen=True)
class Method:
    """One row of the table: a learner with its options, and the run its weights are of.

    A run of ``BOXED`` is the model in the box.
    """

    name: str
    learner: str
    run: str = ""
    meta_learned: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    shots: tuple[int, ...] = SHOTS
    tasks: int = TASKS


METHODS = (
    Method("joint U-Nets", "joint_unet", "joint_unet", True, tasks=100),
    Method("conditioned U-Net", "conditioned_unet", "conditioned_unet", True, tasks=100),
    Method(f"{BOXED}, in the box", "conditioned_unet", BOXED, True, tasks=100),
    Method(
        "U-Net, last layer solved", "ridge_unet", "ridge_unet", True,
        options={**FOLDED, "test_steps": 0}, tasks=100,
    ),
    Method("prototype masks", "prototype_masks", "prototype_masks", True, tasks=100),
    Method("MAML", "maml", "maml", True, tasks=100),
    Method("Meta-SGD", "meta_sgd", "meta_sgd", True, tasks=100),
    Method("Reptile", "reptile", "reptile", True, tasks=100),
    Method("fine-tuned U-Net", "tuned_unet", "tuned_unet", shots=FEW, tasks=100),
    Method(
        "U-Net from scratch", "tuned_unet", options={**TUNED, "initial": "fresh"}, tasks=100,
    ),
    Method("ridge on pixels, filters", "pixel_ridge", tasks=100),
    Method(
        "forest on pixels, filters", "pixel_forest", options={"trees": 25}, tasks=100,
    ),
    Method(
        "ridge on pixels, encoder", "pixel_ridge", "prototype_masks",
        options={"encoder": {"name": "unet", "options": {"width": 8}}}, tasks=100,
    ),
)  # fmt: skip


def built(method: Method, runs: Path) -> AbstractLearner | None:
    """The learner with its trained weights; None where its run is not there."""
    spec, target = InputSpec(3, (SIZE, SIZE)), Target("masks", 2)
    torch.manual_seed(0)
    if not method.run:
        return build_learner(method.learner, method.options or None, spec, target).eval()
    if method.run == BOXED:
        return load_boxed(BOXED).learner
    run = runs / f"{method.run}-{SIZE}"
    if not run.is_dir():
        return None
    trained = load_model(run).learner
    if method.learner == method.run and not method.options:
        return trained.eval()
    learner = build_learner(method.learner, method.options, spec, target)
    if method.learner == method.run:
        learner.load_state_dict(trained.state_dict())
        return learner.eval()
    encoder = {k: v for k, v in trained.state_dict().items() if k.startswith("encoder.")}
    learner.load_state_dict({**learner.state_dict(), **encoder})
    return learner.eval()


def protocol_for(source: Source, shot: int) -> Protocol | None:
    """As many queries as patients apart allow, at most ``QUERIES``; None where there is no way."""
    pools = structure_pools(source, source.groups)
    for n_query in range(QUERIES, 0, -1):
        if all(pool.feasible(shot, n_query) for pool in pools):
            return Protocol(
                sources=(source.name,), kind="masks", n_way=(2, 2), n_shot=(shot, shot),
                n_query=n_query, episodes=TASKS, seed=SEED, norm="group",
            )  # fmt: skip
    return None


def measured(
    learner: AbstractLearner, source: Source, protocol: Protocol, device: str = "cpu"
) -> dict[str, Any]:
    """Dice over queries, with an interval over patients."""
    started, scores, rows, by_task = time.perf_counter(), [], [], []
    with torch.no_grad():
        for part in from_images(learner, TaskSampler([source], protocol), device):
            answers = part.outputs.argmax(2).cpu().numpy()
            found = overlap(answers, part.labels.cpu().numpy(), 2)["dice"]
            scores.append(found.reshape(-1))
            by_task += [round(float(one.mean()), 4) for one in found]
            rows.append(np.concatenate([draw.query_rows for draw in part.draws]))
    return in_all(np.concatenate(scores), source.groups[np.concatenate(rows)]) | {
        "tasks": protocol.episodes,
        "images": len(np.unique(np.concatenate(rows))),
        "seconds": round(time.perf_counter() - started, 1),
        "device": device,
        "by_task": by_task,
    }


def in_all(dice: NDArray[np.float64], groups: NDArray[np.int64]) -> dict[str, Any]:
    """The mean over queries of patients ``groups``, with an interval over these."""
    by_patient = means_of(dice, groups)
    summary = summarise(by_patient)
    return {
        "dice": round(float(dice.mean()), 4),
        "low": round(max(0.0, summary.low), 4) if summary.tasks > 1 else None,
        "high": round(min(1.0, summary.high), 4) if summary.tasks > 1 else None,
        "queries": len(dice),
        "patients": len(by_patient),
    }


def means_of(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean of each group: of a patient, who counts once.

    >>> means_of(np.array([0.0, 1.0, 1.0]), np.array([7, 7, 9])).tolist()
    [0.5, 1.0]
    """
    _, inverse = np.unique(groups, return_inverse=True)
    return np.asarray(np.bincount(inverse, values) / np.bincount(inverse))


def wanted(tests: dict[str, Source]) -> Iterator[tuple[str, int, bool]]:
    """Structures and shots of the table, then those of the curve."""
    for structure in tests:
        for shot in SHOTS:
            if not (structure == "STARE-Retinal-Vessel" and shot > 5):
                yield structure, shot, False
    for structure, shots in CURVES.items():
        yield from ((structure, shot, True) for shot in shots)


def key_of(row: dict[str, Any]) -> tuple[str, str, int]:
    """What a row is of: a later one, of more tasks, takes its place."""
    return row["learner"], row["structure"], row["shot"]


def main() -> None:
    """Measure what is not measured yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="names of rows, or of learners")
    parser.add_argument("--shots", type=int, nargs="*", default=[], help="of these alone")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    tests = Folders(given.data, given.runs / "cache").tests(SIZE)
    held: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    done = {key_of(row): row["tasks"] for row in held}
    for method in METHODS:
        if given.only and not {method.learner, method.name} & set(given.only):
            continue
        learner = built(method, given.runs)
        if learner is None:
            print(f"{method.name}: no run", flush=True)
            continue
        for structure, shot, of_curve in wanted(tests):
            if of_curve and method.learner not in OF_CURVES:
                continue
            episodes = min(method.tasks, TASKS) if of_curve else method.tasks
            if done.get((method.name, structure, shot), 0) >= episodes:
                continue
            if shot not in method.shots and not of_curve:
                continue
            if given.shots and (of_curve or shot not in given.shots):
                continue
            protocol = protocol_for(tests[structure], shot)
            if protocol is None:
                continue
            protocol = protocol.model_copy(update={"episodes": episodes})
            found = measured(learner.to(given.device), tests[structure], protocol, given.device)
            row = {"learner": method.name, "meta_learned": method.meta_learned,
                   "structure": structure, "shot": shot, **found, "size": SIZE}  # fmt: skip
            print(row, flush=True)
            held = [*(one for one in held if key_of(one) != key_of(row)), row]
            write_json(RESULTS, held)
    write_table(held)


if __name__ == "__main__":
    main()
