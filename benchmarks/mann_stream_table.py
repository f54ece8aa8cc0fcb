"""The figures of the streaming benchmark as JSON, and the table of ``docs/results.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medmeta.storage import write_json
from page_tables import kept_rows, replace_between

BEGIN, END = "<!-- mann stream: begin -->", "<!-- mann stream: end -->"

# Santoro et al. 2016, table 1: five random classes, one-hot labels; by instance.
PUBLISHED = {1: 36.4, 2: 82.8, 3: 91.0, 4: 92.6, 5: 94.9, 10: 98.1}


def write_table(results: Path, page: Path, result: dict[str, Any]) -> None:
    """Merge figures into the JSON (a training of the same form is replaced), and into the table."""
    paper = {str(instance): figure for instance, figure in PUBLISHED.items()}
    merged = {row["key_strengths"]: row for row in kept_rows(results)}
    merged[result["key_strengths"]] = {**result, "paper": paper}
    rows = [merged[form] for form in sorted(merged, reverse=True)]
    write_json(results, rows)
    replace_between(page, BEGIN, END, table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Accuracy by instance beside the paper's, and how far each training has come.

    >>> row = {"accuracy_by_instance": [40.0, 80.25], "interval": [1.0, 0.5], "streams": 16,
    ...     "steps": 500, "steps_planned": 1000, "seconds": 60.0, "key_strengths": True}
    >>> print(table([row]).splitlines()[2])
    | with key strengths | 500 of 1,000 | 1 | 40.0 ± 1.0 | 80.2 ± 0.5 |
    """
    numbers = range(1, 1 + max(len(row["interval"]) for row in rows))
    heads = " | ".join(str(n) for n in numbers)
    lines = [
        f"| accuracy, %, at instance | steps | minutes | {heads} |",
        "|---" * (len(numbers) + 3) + "|",
    ]
    for row in rows:
        form = "with key strengths" if row["key_strengths"] else "without, as the paper writes it"
        minutes = row.get("processor_seconds", row["seconds"]) / 60
        steps = f"{row['steps']:,} of {row['steps_planned']:,}"
        lines.append(f"| {form} | {steps} | {minutes:.0f} | {_figures(row)} |")
        if "known_alphabets" in row:
            known = _figures(row["known_alphabets"])
            lines.append(f"| {form}; alphabets known | {steps} | {minutes:.0f} | {known} |")
    paper = " | ".join(str(PUBLISHED.get(n, "–")) for n in numbers)
    return "\n".join([*lines, f"| paper | 100,000 | – | {paper} |"])


def _figures(row: dict[str, Any]) -> str:
    found = zip(row["accuracy_by_instance"], row["interval"], strict=True)
    return " | ".join(f"{a:.1f} ± {i:.1f}" for a, i in found)
