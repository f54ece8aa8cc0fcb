"""What a report says of its data in sentences: notes, and warnings for the first page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from medmeta.app.images import AskedImages
from medmeta.app.mask_choice import TRIED, figures, taken
from medmeta.app.pooling import POOLED
from medmeta.app.report.words import Words
from medmeta.data.preprocess import Preprocessing
from medmeta.data.slices import slices_in_words
from medmeta.version import __version__


def learner_in_words(card: Mapping[str, Any], words: Words) -> str:
    """``prototypical on conv4``."""
    encoder = card["options"].get("encoder", {}).get("name", words.plain("page.an_encoder"))
    head = card.get("head")
    if head:
        return words.plain(
            "page.learner_head", head=head["name"], name=card["learner"], encoder=encoder
        )
    return words.plain("page.learner", name=card["learner"], encoder=encoder)


def notes_and_warnings(
    card: Mapping[str, Any], asked: AskedImages | None, words: Words, *, learned_from: int
) -> tuple[list[str], list[str]]:
    """What a reader must know of a predictor's data and of the images asked."""
    notes: list[str] = []
    warnings: list[str] = []
    if choice := card.get("choice"):
        notes.append(_choice_in_words(choice, words))
    if tried := card.get(TRIED):
        found = figures(tried)
        told = "note.tried" if found else "note.tried_alone"
        notes.append(words.plain(told, taken=taken(tried), figures=found))
    if not card["support"].get("patients_known"):
        warnings.append(words.plain("note.patients"))
    if unknown := unknown_in_training(card["model"], words):
        warnings.append(unknown)
    if learned_from:
        warnings.append(words.plain("note.learned_from", n=learned_from))
    if levels := card.get("standardise"):
        n = len(levels["groups"])
        notes.append(words.plain("note.levels", column=words.said(levels["column"]), n=n))
    names = [str(source["name"]) for source in card["model"].get("sources", [])]
    if names and all(name.startswith("synthetic-") for name in names):
        warnings.append(words.plain("note.synthetic"))
    prepared = Preprocessing.model_validate(card["preprocessing"])
    how, kind = words.said(slices_in_words(prepared)), "slides" if prepared.tiled else "volumes"
    if card["support"].get("volumes"):
        notes.append(words.plain(f"note.{kind}", n=card["support"]["volumes"], how=how))
    if asked is not None and asked.volumes:
        kind = "whole" if prepared.depth else kind
        pooled = words.said(POOLED)
        notes.append(words.plain(f"note.asked_{kind}", n=asked.volumes, pooled=pooled, how=how))
    if asked is not None and asked.problems:
        notes.append(words.plain("note.left_out", n=len(asked.problems)))
    size = card["preprocessing"]
    if prepared.samples:
        leads, rate = len(prepared.leads.split(",")), f"{prepared.rate:g}"
        notes.append(words.plain("note.signal", n=prepared.samples, leads=leads, rate=rate))
        return notes, warnings
    colour = words.plain("note.colour" if size["channels"] == 3 else "note.grey")
    notes.append(words.plain("note.shape", shape=f"{size['size']}×{size['size']}", colour=colour))
    return notes, warnings


def _choice_in_words(choice: Mapping[str, Any], words: Words) -> str:
    """What was chosen for the task, from how many, or why nothing was compared."""
    chosen = choice["in_words"] if words.language == "en" else choice["chosen"]
    if choice["tried"]:
        again = words.plain("note.choice_again") if choice.get("nested") else ""
        return words.plain("note.choice", chosen=chosen, tried=choice["tried"], again=again)
    told = "note.choice_past" if choice["candidates"] else "note.choice_default"
    return words.plain("note.choice_fixed", chosen=chosen, of=words.plain(told))


def unknown_in_training(model: Mapping[str, Any], words: Words) -> str:
    """What must be said where the sources of a run did not say whose images they hold."""
    parts = [*model.get("sources", []), *model.get("validated_on", [])]
    names = sorted({str(source["name"]) for source in parts if source.get("patients", 0) is None})
    return words.plain("note.unknown_training", names=", ".join(names)) if names else ""


def provenance(
    card: Mapping[str, Any], model: Mapping[str, Any], command: str, words: Words
) -> dict[str, str]:
    """Versions, seeds, hashes and the command, by their names."""
    with_version = words.plain(
        "provenance.trained_with", version=__version__, other=model.get("medmeta", "?")
    )
    facts = {
        "command": command,
        "medmeta": with_version if "step" in model else __version__,
        "learner": learner_in_words(card, words),
    }
    if "step" in model:  # nothing was trained across tasks where it is not there
        facts |= {
            "paper": str(model.get("paper", "")),
            "steps": str(model["step"]),
            "seed": str(model.get("training", {}).get("seed", "?")),
        }
    if "support" in card:
        facts["seed_task"] = str(card.get("seed", "?"))
    told = {words.plain(f"provenance.{name}"): value for name, value in facts.items()}
    told["torch"] = str(torch.__version__)
    for part, digest in card.get("sha256", {}).items():
        told[words.plain("provenance.sha256", part=part)] = digest
    return told
