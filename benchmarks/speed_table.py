"""The speed figures as JSON, and the tables of ``docs/speed.md`` made from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmeta.storage import write_json
from page_tables import kept_rows, replace_between

TOLD = ("spread", "pace", "threads", "memory_mb", "settled_mb", "agreement", "beside", "why")
BEGIN, END = "<!-- speed table: begin -->", "<!-- speed table: end -->"


def known_rows(results: Path) -> list[str]:
    """Names of the rows that were measured."""
    return [row["name"] for row in kept_rows(results)]


def write_rows(
    results: Path, page: Path, rows: Sequence[dict[str, Any]], *, order: Sequence[str]
) -> None:
    """Merge rows into the JSON (a row replaces its like) and rewrite the page's table.

    Rows that are no longer in ``order`` are dropped.
    """
    known = kept_rows(results)
    merged = {row["name"]: row for row in [*known, *rows]}
    ordered = [merged[name] for name in order if name in merged]
    write_json(results, ordered)
    replace_between(page, BEGIN, END, table(ordered))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All rows as a Markdown table, and what machine they were measured on."""
    lines = [
        "| work | unit | medmeta | other | theirs | ratio | goal | of the limit | threads | MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_cells(row) for row in rows]
    return "\n".join([*lines, "", *_machines(rows)])


def line_of(row: dict[str, Any]) -> str:
    """One row for the terminal."""
    parts = [f"{row['name']}: {_number(row['ours'])} {row['unit']}"]
    if row["peer"]:
        parts.append(f"{row['peer']} {_number(row['theirs'])}")
    if row["ratio"] is not None:
        parts.append(f"ratio {row['ratio']:.3g}")
    if row["goal"] is not None:
        parts.append(f"goal {_goal(row)}")
    if row["limit_fraction"] is not None:
        parts.append(f"{100 * row['limit_fraction']:.0f} % of the limit")
    for name in (
        "spread",
        "pace",
        "threads",
        "memory_mb",
        "settled_mb",
        "agreement",
        "beside",
        "why",
    ):
        if row.get(name) not in (None, "", {}):
            parts.append(f"{name} {row[name]}")
    return "; ".join(parts)


def _cells(row: dict[str, Any]) -> str:
    pace = row.get("pace", {})
    speeds = [_number(pace[name]) for name in ("ours", "theirs") if name in pace]
    at_pace = f"at {' and '.join(speeds)} {pace['unit']}" if speeds else ""
    settled = [f"{row.get('settled_mb', {}).get(name, 0):.0f}" for name in ("ours", "theirs")]
    if row["unit"] == "MB" and "0" not in settled:
        at_pace += f"; once settled {' and '.join(settled)} MB"
    beside = [f"{k.replace('_', ' ')}: {v}" for k, v in row.get("beside", {}).items()]
    note = "; ".join(text for text in (row["note"], at_pace, *beside, row.get("why", "")) if text)
    work = f"{row['work']} ({note})" if note else row["work"]
    threads, memory = row["threads"], row.get("memory_mb", {})
    fraction = row["limit_fraction"]
    cells = [
        work,
        row["unit"],
        _with_spread(row, "ours"),
        row["peer"] or "–",
        _with_spread(row, "theirs"),
        _number(row["ratio"]),
        _goal(row),
        "–" if fraction is None else f"{100 * fraction:.0f} %",
        " / ".join(str(threads[n]) for n in ("ours", "theirs") if n in threads) or "–",
        " / ".join(f"{memory[n]:.0f}" for n in ("ours", "theirs") if n in memory) or "–",
    ]
    return "| " + " | ".join(cells) + " |"


def _with_spread(row: dict[str, Any], side: str) -> str:
    value = row[side]
    if value is None:
        return "–"
    ends = row["spread"].get(side)
    if ends is None:
        return _number(value)
    return f"{_number(value)} [{_number(ends[0])}, {_number(ends[1])}]"


def _goal(row: dict[str, Any]) -> str:
    if row["goal"] is None:
        return "–"
    sign = "≥" if row["goal_at"] == "least" else "≤"
    difference = "difference " if row["goal_of"] == "difference" else ""
    met = {True: " ✓", False: " missed", None: ""}[row["met"]]
    return f"{difference}{sign} {row['goal']:g}{met}"


def _number(value: float | None) -> str:
    """Three digits that count, thousands apart.

    >>> _number(12345.6), _number(0.01234), _number(None)
    ('12,346', '0.0123', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _machines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each kind of machine and set of versions that rows were measured with."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["ours"] is None:
            continue
        machine, versions = row["machine"], row["versions"]
        text = (
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
            f"{machine['gpu'] or 'no GPU'}, {machine['system']}; Python {row['python']}, "
            f"torch {versions['torch']}, NumPy {versions['numpy']}, medmeta {versions['medmeta']}"
        )
        found.setdefault(text, []).append(row["name"])
    if len(found) == 1:
        return [f"Measured on: {next(iter(found))}."]
    return [f"Measured on: {text} ({', '.join(names)})." for text, names in found.items()]
