"""The figures of values as JSON, and the table of ``docs/results.md`` made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medmeta.storage import write_json
from page_tables import kept_rows, replace_between

BEGIN, END = "<!-- values table: begin -->", "<!-- values table: end -->"

# Li et al. 2017, table 1, after one step of models trained on 5 points. MAML's own paper has a
# curve and no figures.
PUBLISHED = {
    ("sinusoid of any frequency", "maml", 5): 1.13,
    ("sinusoid of any frequency", "maml", 10): 0.85,
    ("sinusoid of any frequency", "meta_sgd", 5): 0.90,
    ("sinusoid of any frequency", "meta_sgd", 10): 0.63,
}

Key = tuple[str, int, str, int]


def key_of(row: dict[str, Any]) -> Key:
    """Task, points, learner and steps at test name a row."""
    return (row["task"], row["points"], row["learner"], row["steps_at_test"] or 0)


def known_rows(results: Path) -> dict[Key, dict[str, Any]]:
    """What stands in the JSON."""
    return {key_of(row): row for row in kept_rows(results)}


def write_table(results: Path, page: Path, rows: list[dict[str, Any]]) -> None:
    """Merge rows into the JSON (a row replaces its like) and rewrite the page's table."""
    merged = known_rows(results) | {key_of(row): _with_published(row) for row in rows}
    ordered = [merged[key] for key in sorted(merged)]
    write_json(results, ordered)
    replace_between(page, BEGIN, END, table(ordered))


def _with_published(row: dict[str, Any]) -> dict[str, Any]:
    published = PUBLISHED.get((row["task"], row["learner"], row["points"]))
    return {**row, "paper": published if row["steps_at_test"] == 1 else None}


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown."""
    lines = [
        "| task | points | learner | steps at test | mean squared error | paper | trained on "
        "| training steps | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['task']} | {row['points']} | {row['learner']} | "
            f"{row['steps_at_test'] or '–'} | {_error(row)} | "
            f"{row['paper'] or '–'} | {_trained_on(row)} | {_steps(row)} | "
            f"{row['seconds'] / 60:.1f} |"
        )
    return "\n".join(lines)


def _error(row: dict[str, Any]) -> str:
    if row["mse"] is None or row["interval"] is None:
        return "diverges"
    if row["interval"] > row["mse"]:  # a few tasks make up the mean
        return "diverges in single tasks"
    return f"{row['mse']:.3g} ± {row['interval']:.2g}"


def _trained_on(row: dict[str, Any]) -> str:
    return f"{row['trained_points']} points" if row["train_steps"] else "–"


def _steps(row: dict[str, Any]) -> str:
    done, whole = row["train_steps"], row["whole_schedule"]
    return f"{done:,}" if done >= whole else f"{done:,} of {whole:,}"
