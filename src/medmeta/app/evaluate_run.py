"""A trained run on sources it has not seen: tables with intervals, baselines on the same tasks."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, PositiveInt

from medmeta.app.baselines import RAW_RIDGE, Told, encoded_source, ridge_on_raw_pixels, told_by
from medmeta.app.measured import Measured, measured_learners, wanted_way
from medmeta.app.models import EVALUATIONS, LoadedModel, input_spec_from
from medmeta.app.run_folder import fingerprint
from medmeta.data.left_out import remarks
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.pools import class_pools
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SamplingError, SettingsError
from medmeta.evaluation.evaluate import Evaluation, evaluate
from medmeta.evaluation.intervals import paired_difference
from medmeta.learner import check_task_fits
from medmeta.settings import Settings
from medmeta.storage import write_bytes, write_json
from medmeta.training.allocator import keep_freed_memory


class EvaluationRequest(Settings):
    """What to measure; ``way`` None: the run's own, or all classes of a source with fewer.

    ``heads`` are measured on the run's encoder in place of its own learner, each with its options
    in ``head_options`` by its name.
    """

    way: str | None = None
    shots: tuple[PositiveInt, ...] = (1, 5)
    query: int = Field(15, ge=1, le=10_000)
    episodes: int = Field(600, ge=1)
    drop_small: bool = False
    patient_disjoint: bool = True
    baselines: bool = True
    tasks_per_batch: int = Field(20, ge=1)
    seed: int = Field(2026, ge=0, lt=2**63)
    heads: tuple[str, ...] = ()
    head_options: dict[str, dict[str, Any]] = Field(default_factory=dict)


@dataclass(frozen=True)
class EvaluatedSource:
    """One row of the table.

    ``novelty``: ``new classes``, or ``other site`` where class names recur from training.
    ``baselines`` were measured on the same tasks; ``excluded`` pictures had been seen in training;
    ``fingerprint`` names the pictures that were left and measured on. ``head`` is the name and
    the options of the head that was put on the run's encoder; None: its own learner answered.
    """

    evaluation: Evaluation
    novelty: str
    baselines: Mapping[str, Evaluation]
    excluded: int
    notes: tuple[str, ...]
    fingerprint: str = ""
    head: Mapping[str, Any] | None = None

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
            "notes": list(self.notes),
        }


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def main_metric(evaluation: Evaluation) -> str:
    """The figure that stands first: accuracy, or R² for values."""
    return "accuracy" if "accuracy" in evaluation.summary else "r_squared"


def evaluate_model(
    model: LoadedModel,
    sources: Sequence[Source],
    request: EvaluationRequest,
    *,
    progress: Told | None = None,
) -> list[EvaluatedSource]:
    """Measure a model on every source at every shot; the figures are kept in its run.

    Pictures that the run has seen are left out, and said. All sources are checked before the
    first is measured. Raises ``SamplingError`` where one cannot give such tasks.
    """
    if not sources:
        raise SettingsError("no source to evaluate on: give --source PATH, once or more.")
    keep_freed_memory()
    rows = []
    for source, fresh, asked in _plans(model, sources, request):
        raw = {}
        if request.baselines:
            protocols = [protocol for _, protocol in asked]
            raw = ridge_on_raw_pixels(input_spec_from(model.card), fresh, protocols, progress)
        encoded = encoded_source([one.learner for one, _ in asked], fresh, progress)
        for one, protocol in asked:
            told = told_by(one.called(source.name), protocol, progress)
            found = evaluate(one.learner, fresh, protocol, encoded=encoded, progress=told)
            rows.append(_row(model, source, fresh, found, raw.get(protocol), one.head))
            if model.run is not None:
                save_evaluation(model.run, rows[-1])
    return rows


def _plans(
    model: LoadedModel, sources: Sequence[Source], request: EvaluationRequest
) -> list[tuple[Source, Source, list[tuple[Measured, Protocol]]]]:
    """Each source, what of it the model has not seen, and who is asked by which protocol."""
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(
                f"two sources are called {name!r}; results are kept by name, so rename a folder."
            )
    seen = model.seen_hashes()
    plans = []
    for source in sources:
        fresh = source.take(np.flatnonzero(~np.isin(source.hashes, seen)))
        if not len(fresh):
            raise SamplingError(
                f"{source.name}: the run was trained on every picture of it, so they can measure "
                "nothing; give images that it has not seen."
            )
        measured = measured_learners(model, request, len(source.index.class_names))
        asked = [
            (one, _planned(model, one, source, fresh, shot, request))
            for shot in dict.fromkeys(request.shots)
            for one in measured
        ]
        plans.append((source, fresh, asked))
    return plans


def _planned(
    model: LoadedModel,
    one: Measured,
    source: Source,
    fresh: Source,
    shot: int,
    request: EvaluationRequest,
) -> Protocol:
    """The protocol, once it is known that the source can give its tasks and the model takes them.

    Where pictures were left out, the error says so, for else its counts would puzzle.
    """
    trained, has = str(model.card["target"]["kind"]), source.index.labels
    if (trained == "values") != (has is None):
        kind = "values" if has is None else "classes"
        raise SamplingError(f"{source.name} has {kind}, but this model is for {trained}.")
    try:
        protocol = _protocol(model, one, fresh, shot, request)
        TaskSampler([fresh], protocol)
    except SamplingError as error:
        gone = len(source) - len(fresh)
        if not gone:
            raise
        raise SamplingError(f"{error} ({gone} of its pictures were seen in training.)") from None
    if protocol.kind == "classes":
        check_task_fits(one.learner, Target("classes", protocol.n_way[1]))
    return protocol


def _protocol(
    model: LoadedModel, one: Measured, source: Source, shot: int, request: EvaluationRequest
) -> Protocol:
    target = str(model.card["target"]["kind"])
    kind = "values" if target == "values" else "classes"
    protocol = Protocol(
        sources=(source.name,),
        kind=kind,
        n_way=(2, 2) if kind == "classes" else (1, 1),
        n_shot=(shot, shot),
        n_query=request.query,
        episodes=request.episodes,
        tasks_per_batch=request.tasks_per_batch,
        patient_disjoint=request.patient_disjoint,
        drop_small_classes=request.drop_small,
        norm=model.norm,
        transductive=one.learner.traits.transductive,
        seed=request.seed,
    )
    if kind == "values":
        return protocol
    kept, small = class_pools(source, protocol)
    classes = len(kept) + (0 if request.drop_small else len(small))
    most = one.learner.traits.max_way or classes
    way = wanted_way(model, request, min(classes, most))
    return protocol.model_copy(update={"n_way": way})


def _row(
    model: LoadedModel,
    source: Source,
    fresh: Source,
    found: Evaluation,
    raw: Evaluation | None,
    head: Mapping[str, Any] | None,
) -> EvaluatedSource:
    excluded = len(source) - len(fresh)
    return EvaluatedSource(
        found,
        _novelty(model, fresh, found),
        {} if raw is None else {RAW_RIDGE: raw},
        excluded,
        tuple(_notes(source, found, excluded)),
        fingerprint(fresh),
        head,
    )


def _novelty(model: LoadedModel, source: Source, evaluation: Evaluation) -> str:
    known = model.trained_classes()
    if not model.card.get("sources"):
        return "nothing was trained"
    if evaluation.protocol.kind == "values":
        return "new images"
    names = [n.lower() for n in source.index.class_names if n not in evaluation.dropped]
    recurring = [n for n in names if n in known]
    if not recurring:
        return "new classes"
    share = "all" if len(recurring) == len(names) else f"{len(recurring)} of {len(names)}"
    return f"other site ({share} class names were trained on)"


def _notes(source: Source, evaluation: Evaluation, excluded: int) -> list[str]:
    notes = remarks(source.index)  # they are kept, and a file's name may name a patient
    if excluded:
        notes.append(f"{excluded} pictures that the run has seen in training are left out.")
    if not source.index.patients.known:
        notes.append("Patients are not known: one may stand in support and query of a task.")
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
