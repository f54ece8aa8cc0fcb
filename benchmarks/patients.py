"""How much too good an evaluation looks that lets a patient be in support and query.

    python benchmarks/patients.py

Cheap learners without training, on sources whose patients are known: the same protocol with
patients kept apart, as always, and with patients ignored. Beside them only those tasks in which
ignoring them did put a patient on both sides. Written to ``docs/patients.json`` and into the table
of ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmeta.app.baselines import untrained_model
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.episode import Target
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.evaluation.evaluate import evaluate
from medmeta.evaluation.intervals import summarise
from medmeta.storage import write_json
from page_tables import replace_between

ROOT = Path(__file__).resolve().parents[1]
DATA = "shared/data/classification"
SOURCES = ("pneumonia_cxr", "oct_dme")
ENCODERS = ("hog_colour", "pixels")
IMAGES = Preprocessing(size=64, channels=1)
TASKS, SEED = 1000, 2026
BEGIN, END = "<!-- patients table: begin -->", "<!-- patients table: end -->"


def protocol_of(source: Source, shot: int, *, disjoint: bool) -> Protocol:
    """All classes at once, 15 queries each."""
    way = len(source.index.class_names)
    return Protocol(
        sources=(source.name,),
        n_way=(way, way),
        n_shot=(shot, shot),
        n_query=15,
        episodes=TASKS,
        patient_disjoint=disjoint,
        seed=SEED,
    )


def shared_queries(source: Source, protocol: Protocol) -> np.ndarray:
    """The share of each task's queries whose patient is in its support."""
    sampler, patients = TaskSampler([source], protocol), source.index.patients.codes
    draws = (sampler.draw(number) for number in range(TASKS))
    return np.array(
        [np.isin(patients[d.query_rows], patients[d.support_rows]).mean() for d in draws]
    )


def row(source: Source, encoder: str, shot: int) -> dict[str, Any]:
    """One line of the table."""
    options = {"encoder": {"name": encoder}}
    target = Target("classes", len(source.index.class_names))
    learner = untrained_model("ridge", options, IMAGES, target).learner
    found = {}
    for disjoint in (True, False):
        protocol = protocol_of(source, shot, disjoint=disjoint)
        found[disjoint] = evaluate(learner, source, protocol).records["accuracy"]
    shared = shared_queries(source, protocol_of(source, shot, disjoint=False))
    apart, ignored = summarise(found[True]), summarise(found[False])
    crossed = summarise(found[False][shared > 0])
    return {
        "source": source.name,
        "learner": "ridge",
        "encoder": encoder,
        "way": target.size,
        "shot": shot,
        "patients_apart": _percent(apart),
        "patients_ignored": _percent(ignored),
        "ignored_and_crossed": _percent(crossed) if crossed.tasks > 1 else None,
        "tasks_crossed": int((shared > 0).sum()),
        "queries_crossed": round(100 * float(shared.mean()), 2),
        "tasks": TASKS,
        "seed": SEED,
        "command": "python benchmarks/patients.py",
    }


def _percent(summary: Any) -> dict[str, float]:
    half = summary.high - summary.mean
    return {"accuracy": round(100 * summary.mean, 2), "interval": round(100 * half, 2)}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| source | encoder | way | shot | patients apart | patients ignored | of these, tasks "
        "with a patient on both sides | queries whose patient is in the support |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        cells = [one["patients_apart"], one["patients_ignored"], one["ignored_and_crossed"]]
        texts = [f"{c['accuracy']:.1f} ± {c['interval']:.1f}" if c else "–" for c in cells]
        texts[2] += f" ({one['tasks_crossed']})"
        lines.append(
            f"| {one['source']} | {one['encoder']} | {one['way']} | {one['shot']} | "
            f"{' | '.join(texts)} | {one['queries_crossed']:.1f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / DATA)
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "patients.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results.md")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name in SOURCES:
        source = open_source(arguments.data / f"{name}.npz", preprocessing=IMAGES)
        for encoder in ENCODERS:
            for shot in (1, 5, 10):
                rows.append(row(source, encoder, shot))
                print(json.dumps(rows[-1]), flush=True)
    write_json(arguments.results, rows)
    replace_between(arguments.page, BEGIN, END, _table(rows))


if __name__ == "__main__":
    main()
