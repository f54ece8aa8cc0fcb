"""The medical figures as JSON, and the tables of ``docs/results.md`` made from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from medical_recipes import REFERENCE, SHOTS, TESTED_ON
from medmeta.storage import write_json
from page_tables import kept_rows, replace_between

BEGIN, END = "<!-- medical table: begin -->", "<!-- medical table: end -->"
CURVE_BEGIN, CURVE_END = "<!-- label curve: begin -->", "<!-- label curve: end -->"
Row = dict[str, Any]


def key(row: Row) -> tuple[str, str, str, int]:
    """What a row is of."""
    return (row["learner"], row["encoder"], row["source"], row["shot"])


def write_rows(results: Path, page: Path, rows: Sequence[Row]) -> None:
    """Merge rows into the JSON (a row replaces its like) and rewrite the page's tables."""
    merged = {key(row): row for row in kept_rows(results)} | {key(row): row for row in rows}
    ordered = [merged[k] for k in sorted(merged)]
    write_json(results, ordered)
    replace_between(page, BEGIN, END, main_table(ordered))
    replace_between(page, CURVE_BEGIN, CURVE_END, curve_table(ordered))


def main_table(rows: Sequence[Row]) -> str:
    """Learners by their mean over sources at five shots; a column for each source and shot."""
    columns = [(source, shot) for source in TESTED_ON for shot in SHOTS]
    heads = [f"{source} {shot}" for source, shot in columns]
    lines = [
        "| learner | encoder | " + " | ".join(heads) + " | mean | beside the reference "
        "| better in | s per task |",
        "|" + "---|" * (len(columns) + 6),
    ]
    found: dict[tuple[str, str], dict[tuple[str, int], Row]] = {}
    for row in rows:
        found.setdefault((row["learner"], row["encoder"]), {})[row["source"], row["shot"]] = row
    whole = {who: cells for who, cells in found.items() if all(c in cells for c in columns)}
    means = {
        w: sum(cells[c]["accuracy"] for c in columns) / len(columns) for w, cells in whole.items()
    }
    for who in sorted(whole, key=lambda w: -means[w]):
        cells = [whole[who][c] for c in columns]
        figures = [f"{cell['accuracy']:.1f} ± {cell['interval']:.1f}" for cell in cells]
        gaps = [cell["difference"] for cell in cells if cell.get("difference")]
        beside = f"{sum(g['mean'] for g in gaps) / len(gaps):+.1f}" if gaps else "–"
        wins = f"{sum(g['low'] > 0 for g in gaps)}, worse in {sum(g['high'] < 0 for g in gaps)}"
        name = f"{who[0]}{' (transductive)' if cells[0]['transductive'] else ''}"
        lines.append(
            f"| {name} | {who[1]} | "
            + " | ".join(figures)
            + f" | {means[who]:.1f} | {'reference' if who == REFERENCE else beside} "
            f"| {wins if gaps else '–'} | {_seconds(cells)} |"
        )
    return "\n".join(lines)


def curve_table(rows: Sequence[Row]) -> str:
    """Accuracy against images per class, of those measured at more shots than the table has."""
    curves: dict[tuple[str, str, str], dict[int, Row]] = {}
    for row in rows:
        curves.setdefault((row["learner"], row["encoder"], row["source"]), {})[row["shot"]] = row
    long = {who: cells for who, cells in curves.items() if set(cells) - set(SHOTS)}
    shots = sorted({shot for cells in long.values() for shot in cells})
    lines = [
        "| learner | encoder | source | " + " | ".join(map(str, shots)) + " | s per task |",
        "|" + "---|" * (len(shots) + 4),
    ]
    for (learner, encoder, source), cells in sorted(long.items()):
        figures = [f"{cells[s]['accuracy']:.1f}" if s in cells else "–" for s in shots]
        cells_told = [*figures, _seconds(cells.values())]
        lines.append(f"| {learner} | {encoder} | {source} | {' | '.join(cells_told)} |")
    return "\n".join(lines)


def _seconds(cells: Iterable[Row]) -> str:
    """The longest of some cells, and where it was measured."""
    slowest = max(cells, key=lambda cell: cell["seconds_per_task"])
    where = " (GPU)" if slowest.get("device") == "cuda" else ""
    return f"{slowest['seconds_per_task']:.2g}{where}"
