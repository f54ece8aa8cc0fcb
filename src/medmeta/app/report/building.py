"""From a predictor, its run and labelled images to the content of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medmeta.app.images import AskedImages
from medmeta.app.models import LoadedModel
from medmeta.app.pooling import pooled
from medmeta.app.report.content import (
    EvaluationContent,
    ExplanationContent,
    QueryContent,
    ReportContent,
    SupportContent,
)
from medmeta.app.report.explaining import EXPLAINED, explain_answers, explain_support
from medmeta.app.report.sentences import (
    learner_in_words,
    notes_and_warnings,
    provenance,
    unknown_in_training,
)
from medmeta.app.report.words import Words
from medmeta.app.workbench import SavedPredictor
from medmeta.data.preprocess import as_pictures
from medmeta.errors import UnsupportedTaskError
from medmeta.training.metrics_log import read_metrics
from medmeta.trust.novelty import ALL_REASONS

SET_LEVEL = 0.9


@dataclass(frozen=True)
class Asking:
    """How a report is to be: its language, and how many answers are explained by maps."""

    title: str | None = None
    command: str = ""
    language: str = "en"
    explain: int = EXPLAINED


def predictor_report(
    predictor: SavedPredictor,
    asked: AskedImages | None,
    asking: Asking,
    *,
    run: Path | None = None,
    evaluations: Sequence[Mapping[str, Any]] | None = None,
    shifts: Sequence[Mapping[str, Any]] = (),
) -> ReportContent:
    """The content of a report on a predictor, and on its answers where images were asked."""
    card, words = predictor.card, Words(asking.language)
    support = SupportContent(
        as_pictures(predictor.pixels),
        np.asarray(predictor.support_labels, dtype=np.int64),
        predictor.support_names,
        predictor.support_embeddings,
    )
    query, learned = (None, 0) if asked is None else _query(predictor, asked, words)
    notes, warnings = notes_and_warnings(card, asked, words, learned_from=learned)
    explanation, why = _explanation(predictor, query, asking.explain, words)
    if explanation is not None and asked is not None and asked.volumes:
        notes.append(words.plain("explanation.middle"))
    return ReportContent(
        title=asking.title or words.plain("page.title_predictor"),
        learner=learner_in_words(card, words),
        class_names=predictor.class_names,
        support=support,
        query=query,
        evaluations=_evaluations(evaluations or card.get("evaluations", [])),
        shifts=shifts,
        curve=read_metrics(run) if run is not None else (),
        training_sources=_without_fingerprints(card["model"]),
        data_notes=[*notes, why] if why else notes,
        warnings=warnings,
        provenance=provenance(card, card["model"], asking.command, words),
        trust=predictor.trust,
        explanation=explanation,
        language=asking.language,
    )


def run_report(model: LoadedModel, asking: Asking) -> ReportContent:
    """The content of a report on a run: what it was trained on and what it reached."""
    words = Words(asking.language)
    unknown = unknown_in_training(model.card, words)
    return ReportContent(
        title=asking.title or words.plain("page.title_run"),
        learner=learner_in_words(model.card, words),
        class_names=(),
        shifts=model.shifts(),
        warnings=[unknown] if unknown else [],
        evaluations=_evaluations(model.evaluations()),  # of its own learner, not of other heads
        curve=read_metrics(model.run) if model.run is not None else (),
        training_sources=_without_fingerprints(model.card),
        provenance=provenance(model.card, model.card, asking.command, words),
        kind="run",
        language=asking.language,
    )


def _without_fingerprints(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    sources = card.get("sources", [])
    return [{k: v for k, v in source.items() if k != "fingerprint"} for source in sources]


def _explanation(
    predictor: SavedPredictor, query: QueryContent | None, count: int, words: Words
) -> tuple[ExplanationContent | None, str]:
    """Maps, or why there are none."""
    if count < 1:
        return None, ""
    if predictor.preprocessing.input_spec.kind != "image":
        return None, words.plain("note.maps_of_pictures")
    try:
        if query is None or not len(query.labels):
            probabilities = predictor.predict(predictor.pixels).outputs
            return explain_support(predictor, probabilities, count=count), ""
        pixels, labels = query.pixels, query.labels
        found = explain_answers(predictor, pixels, query.probabilities, labels, count=count)
        return found, ""
    except UnsupportedTaskError as error:
        return None, words.plain("note.no_map", why=str(error))


def _query(predictor: SavedPredictor, asked: AskedImages, words: Words) -> tuple[QueryContent, int]:
    """The answers to images, and to how many of them the predictor knew the truth."""
    if predictor.trust is not None and predictor.trust.sets is not None:
        predictor = replace(predictor, set_level=SET_LEVEL)
    answers = pooled(predictor.predict(asked.pixels, asked.beside), asked.counts)
    reasons = None
    if answers.novelty is not None and answers.reason is not None:
        flagged = zip((answers.novelty > 1).tolist(), answers.reason.tolist(), strict=True)
        reasons = tuple(ALL_REASONS[number] if over else "" for over, number in flagged)
    content = QueryContent(
        pixels=asked.shown,
        labels=asked.labels,
        names=tuple(words.plain("answers.name", n=i + 1) for i in range(len(asked.paths))),
        probabilities=answers.outputs,
        embeddings=answers.embeddings,
        nearest=answers.nearest,
        similarity=answers.similarity,
        sets=answers.sets,
        set_level=SET_LEVEL,
        novelty=reasons,
        novelty_score=answers.novelty,
    )
    return content, int(answers.learned_from.sum())


def _evaluations(rows: Sequence[Mapping[str, Any]]) -> list[EvaluationContent]:
    return [
        EvaluationContent(
            evaluation=row,
            novelty=str(row.get("novelty", "")),
            baselines={
                name: float(value["mean"])
                for name, value in row.get("baselines", {}).items()
                if value.get("mean") is not None
            },
        )
        for row in rows
    ]
