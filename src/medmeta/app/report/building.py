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
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.training.metrics_log import read_metrics
from medmeta.trust.novelty import ALL_REASONS

SET_LEVEL = 0.9
# What a copy that is given away, or images that are read otherwise, may change of a model's card.
_MAY_DIFFER = ("about", "format", "kept_as", "medmeta", "options", "preprocessing", "sha256")


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


def check_made_from(predictor: SavedPredictor, model: LoadedModel, named: Path) -> None:
    """Raise ``SettingsError`` where a predictor was made from another model than this.

    Its figures would stand in the report as the predictor's own. A packed copy is the same model.
    """
    own = predictor.card["model"]
    names = (own.keys() | model.card.keys()) - set(_MAY_DIFFER)
    if all(own.get(name) == model.card.get(name) for name in names) and _same_options(
        predictor.card, model.card["options"]
    ):
        return
    raise SettingsError(
        f"--run {named} is {_model_in_words(model.card)} (SHA-256 {model.sha256[:12]}…), and the "
        f"predictor was made from {_model_in_words(own)}: another model, whose figures are not the "
        "predictor's. Name its own run, or leave --run out."
    )


def _same_options(card: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a predictor's model had these; what was chosen for its task is its own."""
    chosen = card.get("choice") is not None and card["head"] is None
    names = ["encoder"] if chosen else list(card["options"].keys() | options.keys())
    return all(card["options"].get(name) == options.get(name) for name in names)


def _model_in_words(card: Mapping[str, Any]) -> str:
    """Enough to find a model by: its learner, its steps, its seed and what it learned from."""
    sources = ", ".join(str(source["name"]) for source in card.get("sources", [])) or "nothing"
    training = card.get("training") or {}
    seed = f" with seed {training['seed']}" if "seed" in training else ""
    prints = [str(s["fingerprint"])[:12] for s in card.get("sources", []) if s.get("fingerprint")]
    known = f", fingerprint {', '.join(prints)}" if prints else ""
    steps = card.get("step", 0)
    return f"{card['learner']} after {steps} steps{seed} on {sources}{known}"


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
