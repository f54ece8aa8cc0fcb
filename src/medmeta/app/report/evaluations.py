"""A report's rows on many tasks: what was measured, which of it fits, and what it beat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medmeta.app.report.content import EvaluationContent
from medmeta.app.report.words import Words

CHANCE = "chance"
GUESSING = "guessing"


@dataclass(frozen=True)
class EvaluationRow:
    """One source under one protocol; figures that are not known are NaN.

    ``setting`` is way and shot in the field's words; ``baselines`` are names with mean accuracies,
    ``chance`` apart.
    """

    source: str
    novelty: str
    setting: str
    way: tuple[int, int]
    shot: tuple[int, int]
    n_query: int
    tasks: int
    mean: float
    low: float
    high: float
    worst_tenth: float
    spread: float
    auroc: float
    calibration_error: float
    chance: float
    baselines: Mapping[str, float]
    remarks: tuple[str, ...]

    @property
    def not_beaten(self) -> tuple[tuple[str, float], ...]:
        """What this predictor is not clearly better than: at or above its interval's low end."""
        return tuple(
            (name, value)
            for name, value in ((GUESSING, self.chance), *self.baselines.items())
            if value >= self.low
        )


def evaluation_rows(evaluations: Sequence[EvaluationContent], words: Words) -> list[EvaluationRow]:
    """Rows of all evaluations that measured an accuracy, by source, way and shot."""
    rows = [
        _row(e, words) for e in evaluations if "accuracy" in (e.evaluation.get("summary") or {})
    ]
    order = {name: i for i, name in enumerate(dict.fromkeys(row.source for row in rows))}
    return sorted(rows, key=lambda row: (order[row.source], row.way, row.shot))


def matching_rows(
    rows: Sequence[EvaluationRow], *, n_way: int, n_shot: int | None
) -> tuple[list[EvaluationRow], bool]:
    """The rows tested in the setting nearest to this task's, and whether it is the same setting.

    None where there is no task: a report on a run has no classes of its own.
    """
    if not rows or n_way < 1:
        return [], False

    def distance(row: EvaluationRow) -> tuple[float, float]:
        shot = _outside(n_shot, row.shot) if n_shot else 0.0
        return _outside(n_way, row.way), shot

    known = [row for row in rows if not math.isnan(row.mean)]
    if not known:
        return [], False
    nearest = min(distance(row) for row in known)
    return [row for row in known if distance(row) == nearest], nearest == (0.0, 0.0)


def range_text(ends: tuple[int, int]) -> str:
    """``5`` or ``2–5``."""
    low, high = ends
    return str(low) if low == high else f"{low}–{high}"


def number(value: Any) -> float:
    """As a float; NaN for None and for what is no number."""
    if isinstance(value, bool) or value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _outside(value: int, ends: tuple[int, int]) -> float:
    """How far off a range, as a ratio's logarithm: 1 against 5 is as far as 5 against 25."""
    low, high = ends
    if low <= value <= high:
        return 0.0
    return abs(math.log(value / (low if value < low else high)))


def _row(content: EvaluationContent, words: Words) -> EvaluationRow:
    evaluation = content.evaluation
    protocol: Mapping[str, Any] = evaluation.get("protocol") or {}
    summary: Mapping[str, Any] = evaluation["summary"]
    accuracy: Mapping[str, Any] = summary["accuracy"] or {}
    way, shot = _ends(protocol.get("n_way")), _ends(protocol.get("n_shot"))
    chance = number(content.baselines.get(CHANCE))
    if math.isnan(chance) and way[0] == way[1]:
        chance = 1 / way[0]
    return EvaluationRow(
        source=str(evaluation.get("source", "")),
        novelty=words.said(content.novelty),
        setting=words.plain("tested.setting", way=range_text(way), shot=range_text(shot)),
        way=way,
        shot=shot,
        n_query=int(protocol.get("n_query") or 0),
        tasks=int(accuracy.get("tasks") or 0),
        mean=number(accuracy.get("mean")),
        low=number(accuracy.get("low")),
        high=number(accuracy.get("high")),
        worst_tenth=number(accuracy.get("worst_tenth")),
        spread=number(accuracy.get("spread")),
        auroc=number((summary.get("auroc") or {}).get("mean")),
        calibration_error=number(evaluation.get("calibration_error")),
        chance=chance,
        baselines={k: number(v) for k, v in content.baselines.items() if k != CHANCE},
        remarks=_remarks(evaluation, protocol, words),
    )


def _ends(value: Any) -> tuple[int, int]:
    if isinstance(value, list | tuple) and len(value) == 2:
        return max(1, int(value[0])), max(1, int(value[1]))
    return (max(1, int(value)),) * 2 if value else (1, 1)


def _remarks(
    evaluation: Mapping[str, Any], protocol: Mapping[str, Any], words: Words
) -> tuple[str, ...]:
    """What a reader must know to compare the figure with another."""
    remarks = []
    if evaluation.get("patients_known") is False:
        remarks.append(words.plain("tested.remark_patients"))
    if protocol.get("split"):
        remarks.append(words.plain("tested.remark_split", split=protocol["split"]))
    if protocol.get("standardise"):
        remarks.append(words.plain("tested.remark_levels", column=protocol["standardise"]))
    if protocol.get("transductive"):
        remarks.append(words.plain("tested.remark_transductive"))
    if protocol.get("patient_disjoint") is False:
        remarks.append(words.plain("tested.remark_shared"))
    if dropped := evaluation.get("dropped") or {}:
        names = ", ".join(f"{name} ({count})" for name, count in dropped.items())
        remarks.append(words.plain("tested.remark_dropped", names=names))
    return tuple(remarks)
