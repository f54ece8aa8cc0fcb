"""From a predictor, its run and labelled images to the content of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmeta.app.images import AskedImages
from medmeta.app.models import LoadedModel
from medmeta.app.pooling import POOLED, pooled
from medmeta.app.report.content import (
    EvaluationContent,
    QueryContent,
    ReportContent,
    SupportContent,
)
from medmeta.app.workbench import SavedPredictor
from medmeta.data.preprocess import Preprocessing, as_pictures
from medmeta.data.slices import parts_in_words, slices_in_words
from medmeta.training.metrics_log import read_metrics
from medmeta.version import __version__


def predictor_report(
    predictor: SavedPredictor,
    asked: AskedImages | None,
    *,
    title: str,
    command: str,
    run: Path | None = None,
    evaluations: Sequence[Mapping[str, Any]] | None = None,
    shifts: Sequence[Mapping[str, Any]] = (),
) -> ReportContent:
    """The content of a report on a predictor, and on its answers where images were asked."""
    card = predictor.card
    support = SupportContent(
        as_pictures(predictor.pixels),
        np.asarray(predictor.support_labels, dtype=np.int64),
        predictor.support_names,
        predictor.support_embeddings,
    )
    notes, warnings = _notes(card, asked)
    return ReportContent(
        title=title,
        learner=learner_in_words(card),
        class_names=predictor.class_names,
        support=support,
        query=_query(predictor, asked) if asked is not None else None,
        evaluations=_evaluations(evaluations or card.get("evaluations", [])),
        shifts=shifts,
        curve=read_metrics(run) if run is not None else (),
        training_sources=_without_fingerprints(card["model"]),
        data_notes=notes,
        warnings=warnings,
        provenance=_provenance(card, card["model"], command),
    )


def run_report(model: LoadedModel, *, title: str, command: str) -> ReportContent:
    """The content of a report on a run: what it was trained on and what it reached."""
    unknown = _unknown_in_training(model.card)
    return ReportContent(
        title=title,
        learner=learner_in_words(model.card),
        class_names=(),
        shifts=model.shifts(),
        warnings=[unknown] if unknown else [],
        evaluations=_evaluations(model.evaluations()),  # of its own learner, not of other heads
        curve=read_metrics(model.run) if model.run is not None else (),
        training_sources=_without_fingerprints(model.card),
        provenance=_provenance(model.card, model.card, command),
    )


def _without_fingerprints(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    sources = card.get("sources", [])
    return [{k: v for k, v in source.items() if k != "fingerprint"} for source in sources]


def learner_in_words(card: Mapping[str, Any]) -> str:
    """``prototypical on conv4``."""
    encoder = card["options"].get("encoder", {}).get("name", "an encoder")
    head = card.get("head")
    name = f"{head['name']} head (encoder from {card['learner']})" if head else card["learner"]
    return f"{name} on {encoder}"


def _query(predictor: SavedPredictor, asked: AskedImages) -> QueryContent:
    answers = pooled(predictor.predict(asked.pixels, asked.beside), asked.counts)
    return QueryContent(
        pixels=asked.shown,
        labels=asked.labels,
        names=tuple(f"image {i + 1}" for i in range(len(asked.paths))),
        probabilities=answers.outputs,
        embeddings=answers.embeddings,
        nearest=answers.nearest,
        similarity=answers.similarity,
    )


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


def _notes(card: Mapping[str, Any], asked: AskedImages | None) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    warnings: list[str] = []
    if not card["support"].get("patients_known"):
        warnings.append(
            "Patients are not known: if one patient's images are both among the labelled and the "
            "asked images, the figures are too good."
        )
    if unknown := _unknown_in_training(card["model"]):
        warnings.append(unknown)
    if levels := card.get("standardise"):
        notes.append(
            f"Grey levels were brought together by {levels['column']}, those of the labelled "
            f"images and of the asked ones ({len(levels['groups'])} known)."
        )
    names = [str(source["name"]) for source in card["model"].get("sources", [])]
    if names and all(name.startswith("synthetic-") for name in names):
        warnings.append(
            "The learner was trained on synthetic pictures only; expect less on real images."
        )
    prepared = Preprocessing.model_validate(card["preprocessing"])
    how, (parts, wholes) = slices_in_words(prepared), parts_in_words(prepared)
    if card["support"].get("volumes"):
        n = card["support"]["volumes"]
        notes.append(f"Among the labelled images are {parts} of {wholes}, {n} in all ({how}).")
    if asked is not None and asked.volumes:
        notes.append(
            f"{asked.volumes} of the asked images are {wholes}. The answer to each is {POOLED} "
            f"({how}); shown is the middle one."
        )
    if asked is not None and asked.problems:
        notes.append(f"{len(asked.problems)} images could not be read and are left out.")
    size = card["preprocessing"]
    shape = f"{size['size']}×{size['size']} pixels"
    if size.get("samples"):
        leads = size["leads"].split(",")
        notes.append(
            f"Every signal was brought to {size['samples']} samples of {len(leads)} leads, "
            f"{size['rate']:g} a second; shown are at most three of the leads."
        )
        return notes, warnings
    notes.append(
        f"Every image was brought to {shape}, {'colour' if size['channels'] == 3 else 'grey'}."
    )
    return notes, warnings


def _unknown_in_training(model: Mapping[str, Any]) -> str:
    """What must be said where the sources of a run did not say whose images they hold."""
    parts = [*model.get("sources", []), *model.get("validated_on", [])]
    names = sorted({str(source["name"]) for source in parts if source.get("patients", 0) is None})
    if not names:
        return ""
    return (
        f"Patients of the training images are not known ({', '.join(names)}): its best weights may "
        "have been chosen on patients that it had learned from."
    )


def _provenance(card: Mapping[str, Any], model: Mapping[str, Any], command: str) -> dict[str, str]:
    facts = {
        "command": command,
        "medmeta": f"{__version__} (trained with {model.get('medmeta', '?')})",
        "torch": str(torch.__version__),
        "learner": learner_in_words(card),
        "paper": str(model.get("paper", "")),
        "training steps of the model": str(model.get("step", "?")),
        "seed of the training": str(model.get("training", {}).get("seed", "?")),
    }
    for part, digest in card.get("sha256", {}).items():
        facts[f"SHA-256 of {part}"] = digest
    return facts
