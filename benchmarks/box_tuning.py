"""The model in the box tuned within each task, beside its default: what a long search may find.

    python benchmarks/box_tuning.py                     20 tasks of pneumonia_cxr

A collection that the weights in the box never saw and that no result is reported on; the same tasks
for all. Written to ``docs/box_tuning.json`` as it goes on; what is there is not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from default_model import IMAGES, MOST, SPEC, protocol
from medmeta.app.models import load_model
from medmeta.app.tuning import rivals
from medmeta.data.sources import open_source
from medmeta.encoders import AbstractEncoder
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import AbstractLearner, HeadedLearner
from medmeta.learners import EmbeddingLearner, build_on
from medmeta.learners.auto.candidates import default_of
from medmeta.learners.auto.choosing import Choice
from medmeta.learners.auto.head import AutoConfig, AutoHead
from medmeta.storage import write_json
from page_tables import kept_rows

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "box_tuning.json"


def learners() -> dict[str, AbstractLearner]:
    """The default, and every way to tune the network that a long search tries."""
    box = load_model(Path("medmeta-base")).learner
    assert isinstance(box, HeadedLearner)
    assert isinstance(box.head, AutoHead)
    choice = Choice(members=(default_of(tuple(box.head.sizes), "classes").name,), temperatures=(1,))
    head = AutoHead(AutoConfig(choice=choice), box.head.sizes, MOST)
    head.load_state_dict(box.head.state_dict())
    encoder = box.encoder
    assert isinstance(encoder, AbstractEncoder)
    found: dict[str, AbstractLearner] = {"default": EmbeddingLearner(encoder, head).eval()}
    for rival in rivals():
        found[rival.name] = build_on(encoder, rival.learner, rival.options, SPEC, MOST).eval()
    return found


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=ROOT / "shared/data/classification")
    parser.add_argument("--source", default="pneumonia_cxr")
    parser.add_argument("--shots", type=int, nargs="+", default=[5])
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    given = open_source(asked.data / f"{asked.source}.npz", preprocessing=IMAGES)
    for shot in asked.shots:
        for name, learner in learners().items():
            rows = kept_rows(asked.out)
            if any(
                (r["learner"], r["source"], r["shot"]) == (name, given.name, shot) for r in rows
            ):
                continue
            started = time.process_time()
            found = evaluate(learner, given, protocol(given, shot, asked.tasks))
            accuracy = found.summary["accuracy"]
            row: dict[str, Any] = {
                "learner": name, "source": given.name, "shot": shot, "tasks": accuracy.tasks,
                "accuracy": round(100 * accuracy.mean, 2), "low": round(100 * accuracy.low, 2),
                "high": round(100 * accuracy.high, 2),
                "processor_seconds_per_task": round(
                    (time.process_time() - started) / accuracy.tasks, 2
                ),
                "command": "python benchmarks/box_tuning.py",
            }  # fmt: skip
            print(json.dumps(row), flush=True)
            write_json(asked.out, [*rows, row])


if __name__ == "__main__":
    main()
