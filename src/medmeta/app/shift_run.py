"""A run across groups, and on images that get worse: what a predictor loses away from home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medmeta.app.baselines import Told, encoded_source, told_by
from medmeta.app.evaluate_run import EvaluationRequest, fresh_part, planned_protocol
from medmeta.app.measured import Measured, measured_learners
from medmeta.app.models import LoadedModel
from medmeta.data.quality import FAULTS, SEVERITIES, faults_for
from medmeta.data.source import Source
from medmeta.episodes.shift import AcrossGroups, groups_left_out, known_columns
from medmeta.episodes.spoilt import WithSpoiltQueries
from medmeta.errors import SettingsError
from medmeta.evaluation.evaluate import Evaluation, evaluate
from medmeta.evaluation.intervals import paired_difference

QUALITY = "quality"


@dataclass(frozen=True)
class Shifted:
    """One line: tasks of a group or with a fault, beside the same queries answered at home.

    ``home``: support from the same group, or queries as they were taken. ``away``: support from
    all other groups, or queries made worse.
    """

    source: str
    shift: str
    what: str
    severity: int | None
    home: Evaluation
    away: Evaluation

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with the paired difference away minus home."""
        gap = paired_difference(self.away.records["accuracy"], self.home.records["accuracy"])
        return {
            "source": self.source,
            "shift": self.shift,
            "what": self.what,
            "severity": self.severity,
            "way": int(self.home.records["n_way"].max()),
            "shot": self.home.protocol.n_shot[0],
            "home": self.home.summary["accuracy"].to_dict(),
            "away": self.away.summary["accuracy"].to_dict(),
            "difference": {k: getattr(gap, k) for k in ("mean", "low", "high", "tasks")},
            "protocol_digest": self.home.protocol.digest(),
        }


def shift_model(
    model: LoadedModel,
    sources: Sequence[Source],
    request: EvaluationRequest,
    shift: str,
    *,
    progress: Told | None = None,
) -> tuple[list[Shifted], list[str]]:
    """Measure a model across the groups of a column, or (``quality``) on worse and worse images.

    What stands for each source, and remarks. Raises ``SettingsError`` where nothing is given,
    ``SamplingError`` where no group can be left out.
    """
    if not sources:
        raise SettingsError("no source to evaluate on: give --source PATH, once or more.")
    if model.card["target"]["kind"] != "classes":
        raise SettingsError("--shift compares accuracies, and this model is for values.")
    rows: list[Shifted] = []
    notes: list[str] = []
    for source in sources:
        fresh = fresh_part(model, source)
        (one,) = measured_learners(model, request, len(source.index.class_names))[:1]
        for shot in dict.fromkeys(request.shots):
            if shift == QUALITY:
                rows += _worse(model, one, source, fresh, shot, request, progress)
            else:
                found, said = _across(model, one, source, fresh, shot, request, shift, progress)
                rows += found
                notes += said
    return rows, list(dict.fromkeys(notes))


def _across(
    model: LoadedModel,
    one: Measured,
    source: Source,
    fresh: Source,
    shot: int,
    request: EvaluationRequest,
    column: str,
    progress: Told | None,
) -> tuple[list[Shifted], list[str]]:
    asked = request.model_copy(update={"drop_small": True})
    protocol = planned_protocol(model, one, source, fresh, shot, asked)
    least = protocol.model_copy(update={"n_way": (2, 2)})
    groups, refused = groups_left_out(fresh, column, least)
    notes = [f"{source.name}: {column} {name} is left out: {why}." for name, why in refused.items()]
    if column == "patient" or not fresh.index.patients.known:
        notes.append(f"{source.name}: patients are not all known, so one may be on both sides.")
    unknown = int((fresh.index.column(column).codes < 0).sum())
    if unknown:
        notes.append(f"{source.name}: {unknown} images of unknown {column} are in no group.")
    encoded = encoded_source([one.learner], fresh, progress)
    rows = []
    for group in groups:
        labels = fresh.index.labels
        assert labels is not None
        way = min(protocol.n_way[1], len(np.unique(labels.codes[group.inside])))
        here = protocol.model_copy(update={"n_way": (way, way)})
        found = [
            evaluate(
                one.learner,
                fresh,
                here,
                encoded=encoded,
                sampler=AcrossGroups(fresh, group, here, outside=outside),
                progress=told_by(f"{source.name}, {column} {group.name}", here, progress),
            )
            for outside in (False, True)
        ]
        rows.append(Shifted(source.name, column, group.name, None, *found))
    return rows, notes


def _worse(
    model: LoadedModel,
    one: Measured,
    source: Source,
    fresh: Source,
    shot: int,
    request: EvaluationRequest,
    progress: Told | None,
) -> list[Shifted]:
    protocol = planned_protocol(model, one, source, fresh, shot, request)
    tasks = WithSpoiltQueries(fresh, protocol)
    home = evaluate(one.learner, tasks.source, protocol, sampler=tasks.as_taken())
    rows = []
    for fault in faults_for(_modality(fresh)):
        for severity in SEVERITIES:
            worse, sampler = tasks.worse(fault, severity)
            told = told_by(
                f"{source.name}, {FAULTS[fault].summary}, {severity}", protocol, progress
            )
            away = evaluate(one.learner, worse, protocol, sampler=sampler, progress=told)
            rows.append(Shifted(source.name, QUALITY, fault, severity, home, away))
    return rows


def _modality(source: Source) -> str | None:
    """The one that all images have; None where they differ or it is not known."""
    known = source.index.modalities
    names = {known.names[code] for code in np.unique(known.codes) if code >= 0}
    return next(iter(names)) if len(names) == 1 and known.known else None


def shifts_there(source: Source) -> tuple[str, ...]:
    """What ``--shift`` can name for a source."""
    return (*known_columns(source), QUALITY)
