"""The figures of what ``medmeta adapt`` does by default as JSON, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmeta.storage import write_json
from page_tables import kept_rows, replace_between

BEGIN, END = "<!-- default model: begin -->", "<!-- default model: end -->"
Row = dict[str, Any]


def key(row: Row) -> tuple[str, str, int]:
    """What a row is of."""
    return (row["method"], row["source"], row["shot"])


def write_rows(results: Path, page: Path, rows: Sequence[Row]) -> None:
    """Merge rows into the JSON (a row replaces its like) and rewrite the page's table."""
    merged = {key(row): row for row in kept_rows(results)} | {key(row): row for row in rows}
    ordered = [merged[k] for k in sorted(merged)]
    write_json(results, ordered)
    replace_between(page, BEGIN, END, table(ordered))


def table(rows: Sequence[Row]) -> str:
    """A line for each method: its mean at each number of shots, and each collection's figures."""
    sources = sorted({row["source"] for row in rows})
    shots = sorted({row["shot"] for row in rows if row["shot"]})
    held = {key(row): row for row in rows}
    head = ["method", *(f"mean, {shot}" for shot in shots)]
    head += [f"{source} {shot}" for source in sources for shot in shots]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    methods = sorted({row["method"] for row in rows}, key=lambda m: -_mean(held, m, sources, shots))
    for method in methods:
        cells = [method]
        for shot in shots:
            found = [held.get((method, source, shot)) for source in sources]
            known = [row["accuracy"] for row in found if row]
            whole = len(known) == len(sources)
            cells.append(f"**{sum(known) / len(known):.2f}**" if whole else "")
        for source in sources:
            cells += [_cell(held.get((method, source, shot))) for shot in shots]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return f"{row['accuracy']:.1f} ± {(row['high'] - row['low']) / 2:.1f}"


def _mean(
    held: dict[tuple[str, str, int], Row], method: str, sources: Sequence[str], shots: Sequence[int]
) -> float:
    found = [held.get((method, source, shot)) for source in sources for shot in shots]
    known = [row["accuracy"] for row in found if row]
    return float(sum(known) / len(known)) if known else 0.0
