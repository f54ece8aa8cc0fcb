"""What was found about trust as JSON, and the table of ``docs/results.md`` made from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medical_recipes import TESTED_ON
from medmeta.storage import write_json
from page_tables import kept_rows, replace_between

BEGIN, END = "<!-- trust table: begin -->", "<!-- trust table: end -->"
Row = dict[str, Any]


def key(row: Row) -> tuple[str, str, int]:
    """What a row is of."""
    return (row["measure"], row["source"], row["shot"])


def write_rows(results: Path, page: Path, rows: Sequence[Row]) -> None:
    """Merge rows into the JSON (a row replaces its like) and rewrite the page's table."""
    merged = {key(row): row for row in kept_rows(results)} | {key(row): row for row in rows}
    ordered = [merged[k] for k in sorted(merged)]
    write_json(results, ordered)
    replace_between(page, BEGIN, END, table(ordered))


def reached(row: Row) -> bool | None:
    """Whether a figure lies within its goal's bounds; None where it has none."""
    low, high = row["goal"]
    if low is None and high is None:
        return None
    return (low is None or row["value"] >= low) and (high is None or row["value"] <= high)


def table(rows: Sequence[Row]) -> str:
    """A line for each measure and shot, a column for each source; goals that are missed in bold."""
    rows = [row for row in rows if row["source"] in TESTED_ON]  # of others only the speed
    sources = sorted({row["source"] for row in rows})
    lines = [
        f"| measure | shot | {' | '.join(sources)} | goal | tasks |",
        "|" + "---|" * (len(sources) + 4),
    ]
    found: dict[tuple[str, int], dict[str, Row]] = {}
    for row in rows:
        found.setdefault((row["measure"], row["shot"]), {})[row["source"]] = row
    for (measure, shot), cells in found.items():
        figures = [_cell(cells[s]) if s in cells else "–" for s in sources]
        goals = sorted({_goal(row["goal"]) for row in cells.values()})
        goal = goals[0] if len(goals) == 1 else "by source"
        tasks = sorted({str(row["tasks"]) for row in cells.values()})
        lines.append(
            f"| {measure} | {shot} | {' | '.join(figures)} | {goal} | {', '.join(tasks)} |"
        )
    return "\n".join(lines)


def _cell(row: Row) -> str:
    text = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    return f"**{text}**" if reached(row) is False else text


def _goal(goal: Sequence[float | None]) -> str:
    low, high = goal
    if low is None and high is None:
        return "reported"
    if low is None:
        return f"≤ {high:.3g}"
    return f"≥ {low:.3g}" if high is None else f"{low:.3g} to {high:.3g}"
