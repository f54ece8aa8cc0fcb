"""The model card as JSON: what a report says, for programs (Mitchell et al. 2019)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medmeta.app.report.content import ReportContent
from medmeta.app.report.context import page_context
from medmeta.app.report.numbers import Share
from medmeta.app.report.page import check_content
from medmeta.app.report.words import Words
from medmeta.storage import write_bytes
from medmeta.version import __version__

FORMAT = "medmeta-model-card/1"


def model_card(content: ReportContent) -> dict[str, Any]:
    """What a report says, as JSON: figures that are not known are null.

    Raises ``DataError`` as ``render_report`` does.
    """
    words = Words(content.language)
    check_content(content)
    context = page_context(content, words)
    card: dict[str, Any] = {
        "format": FORMAT,
        "medmeta": __version__,
        "language": words.plain("page.language"),
        "about": content.kind,
        "model_details": {
            "title": content.title,
            "learner": content.learner,
            "classes": list(content.class_names),
            "provenance": dict(content.provenance),
        },
        "intended_use": _intended(content, words),
        "data": {
            "per_class": context["counts"],
            "notes": list(content.data_notes),
            "training_sources": [dict(source) for source in content.training_sources],
        },
        "metrics": {
            "this_task": None if content.trust is None else content.trust.to_dict(),
            "asked": _asked(context),
            "many_tasks": [dict(e.evaluation) for e in content.evaluations],
            "elsewhere": [dict(shift) for shift in content.shifts],
        },
        "explanation": _explanation(content),
        "caveats": [
            *content.warnings,
            *([] if content.trust is None else map(words.said, content.trust.notes)),
        ],
        "checklists": _checklists(context),
    }
    plain: dict[str, Any] = _plain(card)
    return plain


def write_model_card(path: Path, content: ReportContent) -> None:
    """Write the card as a whole or not at all; raises ``StorageError``."""
    text = json.dumps(model_card(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode("utf-8", "backslashreplace"))


def _intended(content: ReportContent, words: Words) -> dict[str, Any]:
    names = ", ".join(content.class_names)
    not_for = ["summary.not_care"] + (["summary.not_other"] if names else [])
    return {
        "use": words.plain("card.intended", names=names) if names else "",
        "not_for": [words.plain(key) for key in not_for],
        "status": words.plain("page.use"),
    }


def _checklists(context: Mapping[str, Any]) -> dict[str, Any]:
    """Of each item, whether and in which sections of the page it is answered."""
    return {
        listed.name: {
            item.number: {"answered": item.answered, "where": [anchor for anchor, _ in item.where]}
            for item in listed.items
        }
        for listed in context["checklists"]
    }


def _asked(context: Mapping[str, Any]) -> dict[str, Any] | None:
    if not context["n_query"]:
        return None
    asked: dict[str, Any] = {"images": context["n_query"], "labelled": context["n_known"]}
    if context["content"].query.novelty is not None:
        asked["flagged_as_novel"] = len(context["novel"])
    if (figures := context["figures"]) is None:
        return asked
    return asked | {
        "accuracy": _share(figures.accuracy),
        "auroc": figures.auroc,
        "calibration_error": figures.calibration_error,
        "unanswered": figures.unanswered,
        "confusion": figures.confusion.tolist(),
        "by_class": [
            {
                "name": row.name,
                "images": row.n,
                **{k: _share(getattr(row, k)) for k in ("sensitivity", "specificity", "precision")},
            }
            for row in figures.classes
        ],
        "set_coverage": None if context["set_right"] is None else _share(context["set_right"]),
    }


def _share(share: Share) -> dict[str, Any]:
    """A share with its 95 % interval."""
    ends = {"value": share.value, "low": share.low, "high": share.high}
    return {"count": share.count, "n": share.n, **ends}


def _explanation(content: ReportContent) -> dict[str, Any] | None:
    told = content.explanation
    if told is None:
        return None
    return {
        "method": "occlusion",
        "images": len(told.rows),
        "deletion_area": told.deletion,
        "insertion_area": told.insertion,
        "random_deletion_area": told.random_deletion,
        "random_insertion_area": told.random_insertion,
        "correlation_with_shuffled_weights": told.correlation,
    }


def _plain(content: Any) -> Any:
    """As JSON has it; numbers that are none become null."""
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return content if content is None or isinstance(content, bool | int) else str(content)
