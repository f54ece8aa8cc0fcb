"""Everything that the page's templates name, worked out from a report's content."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medmeta.app.report.cards import Thumbnails, card_groups, map_cards, support_gallery
from medmeta.app.report.checklist import checklists
from medmeta.app.report.content import QueryContent, ReportContent
from medmeta.app.report.diagrams import benefit_curves, confidence_bins, reliability_dots
from medmeta.app.report.evaluations import evaluation_rows, matching_rows
from medmeta.app.report.figures import embedding_map, learning_curve
from medmeta.app.report.numbers import NO_ANSWER, Share, answers_of, query_figures, wilson
from medmeta.app.report.shifts import shift_tables
from medmeta.app.report.words import Words

ORDER = (
    "data",
    "tested",
    "trust",
    "shift",
    "results",
    "calibration",
    "sets",
    "novelty",
    "explanation",
    "map",
    "gallery",
    "answers",
    "subgroups",
    "training",
    "provenance",
)


def page_context(content: ReportContent, words: Words) -> dict[str, Any]:
    """What the templates are given; ``sections`` names those that are on the page, in order."""
    thumbnails = Thumbnails()
    context: dict[str, Any] = {
        "content": content,
        "trust": content.trust,
        "nan": math.nan,
        "by_chance": _by_chance(content),
        **_counts(content),
        **_tested(content, words),
        **_query(content),
        "map": embedding_map(content, words),
        "gallery": support_gallery(content.support, content.class_names, thumbnails)
        if content.support is not None
        else [],
        "maps": map_cards(content, thumbnails),
        "panels": learning_curve(content.curve, words),
        "source_columns": _columns(content.training_sources),
        "benefit": benefit_curves(content.trust.decisions.benefit)
        if content.trust is not None and content.trust.decisions is not None
        else [],
        "support_dots": _support_dots(content),
    }
    has_query = content.query is not None and len(content.query.labels) > 0
    context["groups"] = card_groups(content, thumbnails) if has_query else []
    context["sections"] = _sections(context)
    context["checklists"] = checklists(_answering(context), words)
    return context | {"pictures": thumbnails.pictures}


def _by_chance(content: ReportContent) -> bool:
    """Whether the task's own figure is one that guessing might have got too."""
    if content.trust is None or "accuracy" not in content.trust.estimate.figures:
        return False
    low = content.trust.estimate.figures["accuracy"].low
    return low is not None and low <= content.trust.estimate.chance


def _sections(context: Mapping[str, Any]) -> list[str]:
    content, trust = context["content"], context["trust"]
    there = {
        "data": content.support is not None
        or context["n_query"]
        or content.training_sources
        or content.data_notes,
        "tested": context["rows"],
        "trust": trust is not None,
        "shift": any(context[f"{kind}_tables"] for kind in ("group", "quality", "parts")),
        "results": context["figures"] is not None,
        "calibration": (context["figures"] is not None and context["figures"].reliability)
        or (trust is not None and trust.calibration is not None),
        "sets": trust is not None and trust.sets is not None,
        "novelty": (trust is not None and trust.novelty is not None)
        or (content.query is not None and content.query.novelty is not None),
        "explanation": context["maps"],
        "map": context["map"] is not None,
        "gallery": context["gallery"],
        "answers": context["groups"],
        "subgroups": trust is not None and trust.decisions and trust.decisions.subgroups,
        "training": context["panels"],
        "provenance": content.provenance,
    }
    return [name for name in ORDER if there[name]]


def _answering(context: Mapping[str, Any]) -> set[str]:
    """The sections, and the parts of sections that a checklist asks for."""
    trust = context["trust"]
    parts = {
        "readers": trust is not None and trust.agreement is not None,
        "points": trust is not None and trust.decisions is not None and trust.decisions.points,
        "recalibrated": trust is not None and trust.calibration is not None,
    }
    found = {"summary", *context["sections"], *(name for name, there in parts.items() if there)}
    if trust is not None and not trust.estimate.figures:
        found.discard("trust")
    return found


def _tested(content: ReportContent, words: Words) -> dict[str, Any]:
    rows = evaluation_rows(content.evaluations, words)
    shots = _shots(content)
    expected, same_setting = matching_rows(
        rows, n_way=len(content.class_names), n_shot=min(shots, default=None)
    )
    group_tables, quality_tables, parts_tables = shift_tables(content.shifts, words)
    return {
        "rows": rows,
        "baseline_names": list(dict.fromkeys(name for row in rows for name in row.baselines)),
        "by_source": {
            name: [row for row in rows if row.source == name]
            for name in dict.fromkeys(row.source for row in rows)
        },
        "group_tables": group_tables,
        "quality_tables": quality_tables,
        "parts_tables": parts_tables,
        "expected": expected,
        "same_setting": same_setting,
    }


def _query(content: ReportContent) -> dict[str, Any]:
    query = content.query
    n, known = (0, 0) if query is None else (len(query.labels), int((query.labels >= 0).sum()))
    found: dict[str, Any] = {
        "n_query": n,
        "n_known": known,
        "figures": query_figures(query, content.class_names) if query else None,
        "query_dots": [],
        "set_counts": None,
        "set_right": None,
        "novel": [],
    }
    if query is None:
        return found
    answers, confidence = answers_of(query)
    if known:
        asked = query.labels >= 0
        bins = confidence_bins(confidence[asked], (answers == query.labels)[asked])
        found["query_dots"] = reliability_dots(bins)
    if query.sets is not None:
        sizes = query.sets.sum(1)
        found["set_counts"] = [int(c.sum()) for c in (sizes == 1, sizes > 1, sizes == 0)]
        found["set_right"] = _held(query)
    if query.novelty is not None:
        rows = [i for i, reason in enumerate(query.novelty) if reason]
        found["novel"] = [
            {
                "name": query.names[i],
                "score": math.nan if query.novelty_score is None else query.novelty_score[i],
                "reason": query.novelty[i],
                "answer": content.class_names[answers[i]] if answers[i] >= 0 else "",
            }
            for i in rows
        ]
    return found


def _held(query: QueryContent) -> Share | None:
    """How often sets held the true class, where it is known."""
    rows = np.flatnonzero(query.labels >= 0)
    if query.sets is None or not len(rows):
        return None
    return wilson(int(query.sets[rows, query.labels[rows]].sum()), len(rows))


def _support_dots(content: ReportContent) -> list[Any]:
    calibration = content.trust.calibration if content.trust is not None else None
    if calibration is None or calibration.after is None:
        return []
    return reliability_dots(calibration.after.bins)


def _shots(content: ReportContent) -> list[int]:
    if content.support is None:
        return []
    return [int(n) for n in np.bincount(content.support.labels, minlength=len(content.class_names))]


def _counts(content: ReportContent) -> dict[str, Any]:
    """Per class: labelled images, query images known to be of it, and answers that named it."""
    n_classes = len(content.class_names)

    def tally(labels: Any) -> list[int]:
        return [int(n) for n in np.bincount(labels[labels != NO_ANSWER], minlength=n_classes)]

    shots = _shots(content)
    query = tally(content.query.labels) if content.query else [0] * n_classes
    given = tally(answers_of(content.query)[0]) if content.query else [0] * n_classes
    columns = zip(content.class_names, shots or [0] * n_classes, query, given, strict=True)
    return {
        "shots": shots,
        "counts": [{"name": n, "support": s, "query": q, "given": g} for n, s, q, g in columns],
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """All keys of all rows, in the order they first appear, and whether they hold numbers only."""
    numbers = (int, float, type(None))
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: all(isinstance(row.get(key), numbers) for row in rows) for key in keys}
