"""The medical figures as JSON, and the tables of ``docs/results.md`` made from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from medical_recipes import REFERENCE, SHOTS, STEPS, TESTED_ON, called_after
from medmeta.storage import write_json
from page_tables import kept_rows, replace_between

BEGIN, END = "<!-- medical table: begin -->", "<!-- medical table: end -->"
MORE_BEGIN, MORE_END = "<!-- more training: begin -->", "<!-- more training: end -->"
CURVE_BEGIN, CURVE_END = "<!-- label curve: begin -->", "<!-- label curve: end -->"
COLUMNS = [(source, shot) for source in TESTED_ON for shot in SHOTS]
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
    replace_between(page, MORE_BEGIN, MORE_END, more_training_table(ordered))
    replace_between(page, CURVE_BEGIN, CURVE_END, curve_table(ordered))


def main_table(rows: Sequence[Row]) -> str:
    """Learners of the equal budget by their mean; a column for each source and shot."""
    heads = [f"{source} {shot}" for source, shot in COLUMNS]
    lines = [
        "| learner | encoder | " + " | ".join(heads) + " | mean | beside the reference "
        "| better in | s per task |",
        "|" + "---|" * (len(COLUMNS) + 6),
    ]
    whole = _whole(row for row in rows if row.get("steps", STEPS) == STEPS)
    for who in sorted(whole, key=lambda w: -_mean(whole[w])):
        cells = whole[who]
        figures = [f"{cell['accuracy']:.1f} ± {cell['interval']:.1f}" for cell in cells]
        beside, wins = _beside_reference(cells)
        name = f"{who[0]}{' (transductive)' if cells[0]['transductive'] else ''}"
        lines.append(
            f"| {name} | {who[1]} | "
            + " | ".join(figures)
            + f" | {_mean(cells):.1f} | {'reference' if who == REFERENCE else beside} "
            f"| {wins} | {_seconds(cells)} |"
        )
    return "\n".join(lines)


def more_training_table(rows: Sequence[Row]) -> str:
    """Learners after more steps than the budget, a column a source; empty where there are none."""
    lines = [
        "| learner | encoder | steps | "
        + " | ".join(TESTED_ON)
        + f" | mean | mean after {STEPS:,} steps | beside the reference | better in |",
        "|" + "---|" * (len(TESTED_ON) + 7),
    ]
    whole = _whole(rows)
    longer = {w: c for w, c in whole.items() if c[0].get("steps", STEPS) != STEPS}
    if not longer:
        return ""
    for who in sorted(longer, key=lambda w: -_mean(longer[w])):
        cells, steps = longer[who], longer[who][0]["steps"]
        encoder = who[1].removesuffix(called_after("", steps))
        before = whole.get((who[0], encoder))
        sources = [_mean([c for c in cells if c["source"] == s]) for s in TESTED_ON]
        beside, wins = _beside_reference(cells)
        lines.append(
            f"| {who[0]} | {encoder} | {steps:,} | "
            + " | ".join(f"{mean:.1f}" for mean in sources)
            + f" | {_mean(cells):.1f} | {f'{_mean(before):.1f}' if before else '–'} "
            f"| {beside} | {wins} |"
        )
    return "\n".join(lines)


def _whole(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Of each learner and encoder that has all cells, these in the columns' order."""
    found: dict[tuple[str, str], dict[tuple[str, int], Row]] = {}
    for row in rows:
        found.setdefault((row["learner"], row["encoder"]), {})[row["source"], row["shot"]] = row
    return {
        who: [cells[c] for c in COLUMNS]
        for who, cells in found.items()
        if all(c in cells for c in COLUMNS)
    }


def _mean(cells: Sequence[Row]) -> float:
    return float(sum(cell["accuracy"] for cell in cells) / len(cells))


def _beside_reference(cells: Sequence[Row]) -> tuple[str, str]:
    """The mean gap to the reference, and in how many cells it is surely above or below zero."""
    gaps = [cell["difference"] for cell in cells if cell.get("difference")]
    if not gaps:
        return "–", "–"
    above, below = sum(g["low"] > 0 for g in gaps), sum(g["high"] < 0 for g in gaps)
    return f"{sum(g['mean'] for g in gaps) / len(gaps):+.1f}", f"{above}, worse in {below}"


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
