"""A trained run on sources it has not seen: tables with intervals, baselines on the same tasks."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmeta.app.assembling import input_spec_from
from medmeta.app.baselines import (
    RAW_RIDGE,
    Told,
    encoded_sources,
    ridge_on_raw_pixels,
    told_by,
)
from medmeta.app.evaluation_plan import EvaluationRequest, PlannedSource, plans
from medmeta.app.held_out import METRICS
from medmeta.app.models import EVALUATIONS, LoadedModel
from medmeta.app.run_request import usable_device
from medmeta.data.left_out import left_out
from medmeta.data.source import Source
from medmeta.evaluation.evaluate import Evaluation, evaluate
from medmeta.evaluation.intervals import paired_difference
from medmeta.storage import write_bytes, write_json
from medmeta.training.allocator import keep_freed_memory

__all__ = ["EvaluatedSource", "EvaluationRequest", "evaluate_model", "save_evaluation"]


@dataclass(frozen=True)
class EvaluatedSource:
    """One row of the table.

    ``novelty``: ``new classes``, or ``other site`` where class names recur from training.
    ``baselines`` were measured on the same tasks; ``excluded`` pictures had been seen in training;
    ``fingerprint`` names the pictures that were left and measured on, ``model`` the weights.
    ``head`` is the name and the options of the head that was put on the run's encoder; None: its
    own learner answered. ``left_out``: what could not be read, without names of files.
    """

    evaluation: Evaluation
    novelty: str
    baselines: Mapping[str, Evaluation]
    excluded: int
    notes: tuple[str, ...]
    fingerprint: str = ""
    head: Mapping[str, Any] | None = None
    patients_known: bool = True
    model: str = ""
    left_out: Sequence[Mapping[str, Any]] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with each baseline's mean and its paired difference."""
        metric = main_metric(self.evaluation)
        own = self.evaluation.records[metric]
        beside: dict[str, Any] = {}
        if metric == "accuracy":
            beside["chance"] = {"mean": float((1 / self.evaluation.records["n_way"]).mean())}
        for name, baseline in self.baselines.items():
            gap = paired_difference(own, baseline.records[metric])
            beside[name] = {
                **baseline.summary[metric].to_dict(),
                "difference": {k: _defined(getattr(gap, k)) for k in ("mean", "low", "high")},
            }
        return {
            **self.evaluation.to_dict(),
            "novelty": self.novelty,
            "baselines": beside,
            "excluded_as_seen": self.excluded,
            "fingerprint": self.fingerprint,
            "head": self.head,
            "patients_known": self.patients_known,
            "model": self.model,
            "notes": list(self.notes),
            "left_out": list(self.left_out),
        }


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def main_metric(evaluation: Evaluation) -> str:
    """The figure that stands first: accuracy, Dice for masks, R² for values."""
    return METRICS[evaluation.protocol.kind]


def evaluate_model(
    model: LoadedModel,
    sources: Sequence[Source],
    request: EvaluationRequest,
    *,
    device: str = "cpu",
    progress: Told | None = None,
) -> list[EvaluatedSource]:
    """Measure a model on every source at every shot; the figures are kept in its run.

    Pictures that the run has seen are left out, and said. All sources are checked before the
    first is measured. ``device``: where its learners are moved to and answer (``auto``: a GPU where
    there is one). Raises ``SamplingError`` where one cannot give such tasks, ``SettingsError`` for
    a device that cannot be used.
    """
    device = usable_device(device)
    keep_freed_memory()
    rows = []
    for plan in plans(model, sources, request):
        fresh, raw = plan.fresh, {}
        if request.baselines:
            protocols = [protocol for _, protocol in plan.asked]
            raw = ridge_on_raw_pixels(input_spec_from(model.card), fresh, protocols, progress)
        learners = [one.learner.to(device) for one, _ in plan.asked]
        held = encoded_sources(learners, fresh, progress, device=device)
        for (one, protocol), encoded in zip(plan.asked, held, strict=True):
            told = told_by(one.called(fresh.name), protocol, progress)
            found = evaluate(
                one.learner, fresh, protocol, device=device, encoded=encoded,
                distances=request.distances, progress=told,
            )  # fmt: skip
            rows.append(_row(model, plan, found, raw.get(protocol), one.head))
            if model.run is not None:
                save_evaluation(model.run, rows[-1])
    return rows


def _row(
    model: LoadedModel,
    plan: PlannedSource,
    found: Evaluation,
    raw: Evaluation | None,
    head: Mapping[str, Any] | None,
) -> EvaluatedSource:
    return EvaluatedSource(
        found,
        _novelty(model, plan.fresh, found),
        {} if raw is None else {RAW_RIDGE: raw},
        plan.excluded,
        tuple(_notes(plan, found)),
        plan.fingerprint,
        head,
        patients_known=plan.source.index.patients.known,
        model=model.sha256,
        left_out=left_out([plan.source.index]),
    )


def _novelty(model: LoadedModel, source: Source, evaluation: Evaluation) -> str:
    known = model.trained_classes()
    if not model.card.get("sources"):
        return "nothing was trained"
    if evaluation.protocol.kind == "values":
        return "new images"
    if evaluation.protocol.kind == "masks":
        return "new structures" if source.name not in _trained_on(model) else "new images"
    names = [n.lower() for n in source.index.class_names if n not in evaluation.dropped]
    recurring = [n for n in names if n in known]
    if not recurring:
        return "new classes"
    share = "all" if len(recurring) == len(names) else f"{len(recurring)} of {len(names)}"
    return f"other site ({share} class names were trained on)"


def _trained_on(model: LoadedModel) -> set[str]:
    return {source["name"] for source in model.card.get("sources", [])}


def _notes(plan: PlannedSource, evaluation: Evaluation) -> list[str]:
    notes = list(plan.notes)
    for name, images in evaluation.dropped.items():
        notes.append(f"Class {name!r} is left out: {images} image{'' if images == 1 else 's'}.")
    return notes


def save_evaluation(run: Path, row: EvaluatedSource) -> Path:
    """Keep a row and its per-task records in the run's folder.

    Other pictures, another protocol or another head make another folder, so that nothing is
    overwritten by what is something else.
    """
    protocol = row.evaluation.protocol
    shot = protocol.n_shot[0]
    what = f"{protocol.digest()}-{row.fingerprint[:8]}"
    if row.head is not None:
        options = json.dumps(row.head["options"], sort_keys=True).encode()
        what += f"-{row.head['name']}-{hashlib.sha256(options).hexdigest()[:8]}"
    folder = run / EVALUATIONS / f"{row.evaluation.source}-{shot}shot-{what}"
    write_bytes(folder / "records.csv", row.evaluation.records_csv().encode())
    write_json(folder / "summary.json", row.to_dict())
    return folder
