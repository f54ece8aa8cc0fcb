"""Choices within trust, made on source tasks: of collections the run learned from, and drawn ones.

    python benchmarks/trust_choices.py --tasks 40

No collection that trust is judged on is looked at. Of calibration: how far above the usual a
temperature of two classes may lie. Of sets: folds, one image to a fold, and one fold's predictor
for each query. Of novelty: looks with and without hues, by collections in colour.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from medical_measuring import IMAGES
from medical_recipes import SEED, TRAINED_ON
from medmeta.app.models import load_model
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.data.synthetic import synthetic_sources
from medmeta.evaluation.metrics import calibration_error
from medmeta.learner import HeadedLearner
from medmeta.storage import write_json
from medmeta.trust.calibration import calibrated, fit_calibration
from medmeta.trust.conformal import (
    cross_p_values,
    exact_coverage,
    margins,
    own_scores,
    prediction_sets,
    split_p_values,
)
from medmeta.trust.held_out import fold_predictors, held_out_outputs
from medmeta.trust.novelty import Detector, Seen, held_out_scores, judge, novelty_rule
from medmeta.trust.prior import TrustPrior
from medmeta.trust.source_tasks import AskedTask
from trust_measuring import LEVEL, Array, Numbers, Sources, held_out

ROOT = Path(__file__).resolve().parents[1]
DRAWN = ("dermoscopy", "histology", "X-ray", "ultrasound")
IN_COLOUR = ("pbc_blood", "malaria_cells_iml", "synthetic-dermoscopy", "synthetic-histology")
WIDER = (1.0, 2.0, 3.0, 4.0, 6.0)
SHOT, OTHERS = 5, 24
PRIOR = TrustPrior(log_temperature=0.0, temperature_spread=0.5, tasks=1)


def calibration(data: Sources, name: str, n: int) -> dict[str, float]:
    """Pooled calibration error of two classes, by how wide the prior is towards doubt."""
    tasks = list(data.tasks(name, SHOT, n, SEED, most_way=2))
    labels = np.concatenate([one.labels for one in tasks])
    found = {}
    for wider in WIDER:
        parts = []
        for one in tasks:
            _, logits = held_out(one, data.sources[name])
            fitted = fit_calibration(logits, one.draw.support_labels, PRIOR, wider=wider)
            parts.append(calibrated(one.logits, *fitted))
        likely = np.concatenate(parts)
        right = likely.argmax(1) == labels
        found[f"{wider:g}"] = round(calibration_error(likely.max(1), right), 4)
    return found


def sets(data: Sources, name: str, n: int) -> dict[str, tuple[float, float]]:
    """Coverage less what is exact for split sets, and the mean size, of each way to make sets."""
    found: dict[str, list[tuple[float, float]]] = {}
    random = np.random.default_rng(SEED)
    for one in data.tasks(name, SHOT, n, SEED, most_way=5):
        labels, source = one.draw.support_labels, data.sources[name]
        query = data.embeddings(name, one.draw.query_rows)
        exact = exact_coverage(len(labels), LEVEL)
        folds, logits = held_out(one, source)
        ways = {"folds": folds[0], "one image to a fold": np.arange(len(labels))}
        for told, numbers in ways.items():
            held = logits[0] if told == "folds" else held_out_outputs(one.task, numbers[None])[0]
            own = own_scores(margins(held.astype(np.float64)), labels)
            asked = _asked(one, numbers, query)
            p = cross_p_values(own, numbers, asked)
            found.setdefault(told, []).append(_covered(p, one.labels, exact))
            if told == "folds":
                fold = random.integers(len(asked), size=asked.shape[1])
                p = split_p_values(own, asked[fold, np.arange(asked.shape[1])])
                found.setdefault("one fold", []).append(_covered(p, one.labels, exact))
    return {told: tuple(np.mean(rows, 0).round(4).tolist()) for told, rows in found.items()}


def _asked(one: AskedTask, folds: Numbers, query: torch.Tensor) -> Array:
    with torch.no_grad():
        answers = [p(query)[0].numpy() for p in fold_predictors(one.task, folds)]
    return margins(np.stack(answers).astype(np.float64))


def _covered(p_values: Array, labels: Numbers, exact: float) -> tuple[float, float]:
    inside = prediction_sets(p_values, LEVEL)
    holds = float(inside[np.arange(len(labels)), labels].mean())
    return holds - exact, float(inside.sum(1).mean())


def novelty(data: Sources, name: str, n: int) -> dict[str, dict[str, float]]:
    """AUROC of a source in colour against the others, by looks without and with hues."""
    found: dict[str, dict[str, list[float]]] = {}
    for number, one in enumerate(data.tasks(name, SHOT, n, SEED, most_way=5)):
        random = np.random.default_rng([SEED, number])
        for hues in (False, True):
            novel = _novelty(data, one, name, hues=hues)
            ordinary = novel(name, one.draw.query_rows)
            for other in (o for o in IN_COLOUR if o != name):
                rows = random.choice(len(data.sources[other]), OTHERS, replace=False)
                scores = [ordinary, novel(other, rows)]
                truth = np.repeat([0, 1], [len(s) for s in scores])
                area = float(roc_auc_score(truth, np.concatenate(scores)))
                found.setdefault(other, {}).setdefault(f"hues {hues}", []).append(area)
    return {o: {k: round(float(np.mean(v)), 4) for k, v in d.items()} for o, d in found.items()}


def _novelty(
    data: Sources, one: AskedTask, name: str, *, hues: bool
) -> Callable[[str, Numbers], Array]:
    """Scores of rows of any source, seen from one task's support."""
    folds, logits = held_out(one, data.sources[name])
    labels, rows = one.draw.support_labels, one.draw.support_rows
    points = data.embeddings(name, rows)[0].numpy().astype(float)
    support = Seen(points, logits[0], data.pixels(name, rows))
    rule = novelty_rule(held_out_scores(support, labels, folds[0], hues=hues))
    assert rule is not None
    detector = Detector(support, labels, hues=hues)

    def scored(other: str, asked: Numbers) -> Array:
        embedded = data.embeddings(other, asked)
        assert one.task.head_predictor is not None
        with torch.no_grad():
            answers = one.task.head_predictor(embedded)[0].numpy().astype(float)
        seen = Seen(embedded[0].numpy().astype(float), answers, data.pixels(other, asked))
        return judge(rule, detector, seen).score

    return scored


def main() -> None:
    """All three, source by source."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "medical-prototypical")
    folder = ROOT.parent / "shared" / "data" / "classification"
    parser.add_argument("--data", type=Path, default=folder)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "trust_choices.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    opened: list[Source] = [
        open_source(given.data / f"{s}.npz", preprocessing=IMAGES) for s in TRAINED_ON
    ]
    opened += synthetic_sources(size=64, channels=3, seed=11, modalities=DRAWN)
    learner = cast(HeadedLearner, load_model(given.run).learner)
    data = Sources(learner, {source.name: source for source in opened})
    rows = []
    for name in data.sources:
        row = {
            "source": name,
            "tasks": given.tasks,
            "calibration": calibration(data, name, given.tasks),
            "sets": sets(data, name, given.tasks),
            "novelty": novelty(data, name, max(1, given.tasks // 4)) if name in IN_COLOUR else {},
        }
        print(row, flush=True)
        rows.append(row)
    write_json(given.out, rows)


if __name__ == "__main__":
    main()
