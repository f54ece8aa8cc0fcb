"""The Omniglot figures as JSON, and the table of ``docs/results.md`` made from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medmeta.storage import write_json
from page_tables import replace_between

BEGIN, END = "<!-- omniglot table: begin -->", "<!-- omniglot table: end -->"

# The papers' own figures, and an honest repetition by others with its source's setting.
PUBLISHED = {
    ("prototypical", 5, 1): (98.8, 98.4),
    ("prototypical", 5, 5): (99.7, 99.6),
    ("prototypical", 20, 1): (96.0, 94.9),
    ("maml", 5, 1): (98.7, 98.1),
}


def write_table(results: Path, page: Path, rows: list[dict[str, Any]]) -> None:
    """Merge rows into the JSON (a row replaces its like) and rewrite the page's table."""
    known = json.loads(results.read_text()) if results.exists() else []
    fresh = {_key(row): _with_published(row) for row in rows}
    merged = {_key(row): row for row in known} | fresh
    ordered = [merged[key] for key in sorted(merged)]
    write_json(results, ordered)
    replace_between(page, BEGIN, END, _table(ordered))


def _key(row: dict[str, Any]) -> tuple[str, int, int, bool]:
    return (row["learner"], row["way"], row["shot"], row["transductive"])


def _with_published(row: dict[str, Any]) -> dict[str, Any]:
    published = PUBLISHED.get((row["learner"], row["way"], row["shot"]))
    paper, rerun = published if published else (None, None)
    return {**row, "paper": paper, "rerun": rerun}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| learner | test | accuracy, % | paper | re-run by others | trained at | mode | steps "
        "| minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        test = f"{row['way']}-way {row['shot']}-shot"
        mode = "transductive" if row["transductive"] else "inductive"
        accuracy = f"{row['accuracy']:.2f} ± {row['interval']:.2f}"
        trained = f"{row['trained_way']}-way {row['trained_shot']}-shot"
        lines.append(
            f"| {row['learner']} | {test} | {accuracy} | {row['paper'] or '–'} | "
            f"{row['rerun'] or '–'} | {trained} | {mode} | {row['steps']:,} | "
            f"{row['seconds'] / 60:.0f} |"
        )
    return "\n".join(lines)
