"""A report's tables of shift: groups left out, worse queries with a drawing, parts withheld."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medmeta.app.report.evaluations import number, range_text
from medmeta.app.report.figures import COLOURS, WIDTH
from medmeta.app.report.words import Words
from medmeta.evaluation.shift import PARTS

LEFT, RIGHT, TOP, BOTTOM = 46, WIDTH - 120, 12, 190


@dataclass(frozen=True)
class Compared:
    """A line of a table: two means, and their paired difference with its interval."""

    name: str
    first: float
    second: float
    mean: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """Whether the whole interval of the difference lies below zero."""
        return self.high < 0


@dataclass(frozen=True)
class GroupTable:
    """Groups of a column, each with a support from inside and from outside."""

    title: str
    column: str
    rows: tuple[Compared, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Line:
    """One fault's curve: SVG points, and where its name stands."""

    name: str
    colour: str
    points: str
    end: tuple[float, float]


@dataclass(frozen=True)
class QualityTable:
    """Faults by severity; ``ticks`` are places and texts of the drawing's vertical axis."""

    title: str
    clean: float
    rows: tuple[Compared, ...]
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class PartsTable:
    """What tasks give with ``all`` that is known of a patient, and without each part of it."""

    title: str
    all: float
    rows: tuple[Compared, ...]


def shift_tables(
    shifts: Sequence[Mapping[str, Any]], words: Words
) -> tuple[list[GroupTable], list[QualityTable], list[PartsTable]]:
    """What a run's ``summary.json`` of shifts hold, as tables; other metrics than accuracy not."""
    known = [shift for shift in shifts if shift.get("metric") == "accuracy"]
    groups = [_groups(shift, words) for shift in known if "groups" in shift]
    parts = [_parts(s, words) for s in known if s["column"] == PARTS]
    worse = [s for s in known if "worsened" in s and s["column"] != PARTS]
    return groups, [_quality(shift, words) for shift in worse], parts


def _parts(shift: Mapping[str, Any], words: Words) -> PartsTable:
    rows = [
        _compared(words.said(w["distortion"]), shift["clean"], w["worse"], w["difference"])
        for w in shift["worsened"]
    ]
    return PartsTable(_title(shift, words), number(shift["clean"].get("mean")), tuple(rows))


def _title(shift: Mapping[str, Any], words: Words) -> str:
    protocol = shift["protocol"]
    way, shot = (range_text((int(a), int(b))) for a, b in (protocol["n_way"], protocol["n_shot"]))
    return f"{shift['source']}, {words.plain('tested.setting', way=way, shot=shot)}"


def _groups(shift: Mapping[str, Any], words: Words) -> GroupTable:
    rows = [
        _compared(g["name"], g["inside"], g["outside"], g["difference"]) for g in shift["groups"]
    ]
    return GroupTable(
        _title(shift, words), shift["column"], tuple(rows), shift.get("left_out") or {}
    )


def _compared(
    name: str, first: Mapping[str, Any], second: Mapping[str, Any], gap: Mapping[str, Any]
) -> Compared:
    means = number(first.get("mean")), number(second.get("mean"))
    return Compared(name, *means, *(number(gap.get(k)) for k in ("mean", "low", "high")))


def _quality(shift: Mapping[str, Any], words: Words) -> QualityTable:
    clean = number(shift["clean"].get("mean"))
    by_name: dict[str, list[tuple[int, float]]] = {}
    rows = []
    for worse in shift["worsened"]:
        fault = words.said(worse["distortion"])
        name = f"{fault} {worse['severity']}"
        row = _compared(name, shift["clean"], worse["worse"], worse["difference"])
        rows.append(row)
        by_name.setdefault(fault, []).append((int(worse["severity"]), row.second))
    lines = []
    for place, (name, values) in enumerate(by_name.items()):
        knots = [_place(severity, mean) for severity, mean in [(0, clean), *values]]
        points = " ".join(f"{x},{y}" for x, y in knots)
        lines.append(Line(name, COLOURS[place % len(COLOURS)], points, knots[-1]))
    ticks = tuple((_place(0, share)[1], f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1))
    return QualityTable(_title(shift, words), clean, tuple(rows), _apart(lines), ticks)


def _place(severity: int, mean: float) -> tuple[float, float]:
    across = LEFT + severity / 5 * (RIGHT - LEFT)
    return round(across, 1), round(BOTTOM - mean * (BOTTOM - TOP), 1)


def _apart(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The lines, their names moved down until none covers another."""
    placed: list[Line] = []
    last = -99.0
    for line in sorted(lines, key=lambda each: each.end[1]):
        last = max(line.end[1], last + 13)
        placed.append(Line(line.name, line.colour, line.points, (line.end[0], round(last, 1))))
    return tuple(placed)
