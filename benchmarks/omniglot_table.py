"""The Omniglot figures as JSON, and the tables of ``docs/results.md`` made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medmeta.storage import write_json
from omniglot_recipes import ALONE, AMONG, MOMENTS, PLAIN
from page_tables import kept_rows, replace_between

BEGIN, END = "<!-- omniglot table: begin -->", "<!-- omniglot table: end -->"
BEGIN_SPLITS = "<!-- omniglot splits: begin -->"
END_SPLITS = "<!-- omniglot splits: end -->"
BEGIN_PAPERS = "<!-- omniglot papers: begin -->"
END_PAPERS = "<!-- omniglot papers: end -->"
BEGIN_TUNED = "<!-- omniglot fine-tuning: begin -->"
END_TUNED = "<!-- omniglot fine-tuning: end -->"
TUNED = ":fine_tuning"
"""What a command has behind a learner's name when plain fine-tuning is tested from its start."""
OWN_SPLIT = "alphabets"

Key = tuple[str, str, int, int, bool, int, str]

Figures = dict[tuple[int, int], tuple[float | None, float | None]]
REPTILE_TOGETHER: Figures = {(5, 1): (97.68, 97.7), (5, 5): (99.48, 99.5)}
REPTILE_ALONE: Figures = {(5, 1): (95.39, 95.5), (5, 5): (98.90, 98.9)}

# The papers' own figures, and an honest repetition by others with its source's setting; by learner
# and mode. What is not known to be a figure of this setting is left out.
PUBLISHED: dict[tuple[str, str, bool], Figures] = {
    ("prototypical", "", False): {
        (5, 1): (98.8, 98.4),
        (5, 5): (99.7, 99.6),
        (20, 1): (96.0, 94.9),
    },
    ("matching", "", False): {(5, 1): (98.1, None), (5, 5): (98.9, None), (20, 1): (93.8, None)},
    ("siamese", "", False): {(5, 1): (97.3, None), (5, 5): (98.4, None)},
    ("relation", "", False): {(5, 1): (99.6, 98.02), (5, 5): (99.8, 99.25)},
    ("relation", "maps of 7×7, as in the paper", False): {
        (5, 1): (99.6, 98.02),
        (5, 5): (99.8, 99.25),
    },
    ("ridge", "", False): {(5, 1): (98.9, None), (5, 5): (99.7, None), (20, 1): (96.2, None)},
    ("maml", "", True): {(5, 1): (98.7, 98.1), (5, 5): (99.9, 99.8)},
    ("maml", "first order", True): {(5, 1): (98.3, 97.13), (5, 5): (99.2, 99.23)},
    ("anil", "", False): {(5, 1): (None, 96.06), (5, 5): (None, 98.74)},
    ("meta_sgd", "", True): {(5, 1): (99.5, 99.3), (5, 5): (99.9, 99.8)},
    **{("reptile", variant, True): REPTILE_TOGETHER for variant in (PLAIN, MOMENTS)},
    **{("reptile", f"{v}; {AMONG}", True): REPTILE_TOGETHER for v in (PLAIN, MOMENTS)},
    ("reptile", PLAIN, False): REPTILE_ALONE,
    **{("reptile", f"{v}; {ALONE}", False): REPTILE_ALONE for v in (PLAIN, MOMENTS)},
    ("meta_networks", "", False): {(5, 1): (98.95, None)},
}


def is_done(rows: list[dict[str, Any]], command: str, steps: int | None = None) -> bool:
    """Whether rows of this command are there, after as many training steps.

    >>> is_done([{"command": "one", "steps": 10}], "one", 20)
    False
    """
    return any(
        row.get("command") == command and (steps is None or row["steps"] == steps) for row in rows
    )


def write_table(results: Path, page: Path, rows: list[dict[str, Any]]) -> None:
    """Merge rows into the JSON (a row replaces its like) and rewrite the page's tables."""
    fresh = {_key(row): _with_published(row) for row in rows}
    merged = {_key(row): row for row in kept_rows(results)} | fresh
    ordered = [merged[key] for key in sorted(merged)]
    write_json(results, ordered)
    own = [row for row in ordered if _split(row) == OWN_SPLIT]
    replace_between(page, BEGIN_PAPERS, END_PAPERS, _papers_table(own))
    replace_between(page, BEGIN_TUNED, END_TUNED, _tuned_table(own))
    replace_between(page, BEGIN, END, _table(own))
    replace_between(page, BEGIN_SPLITS, END_SPLITS, _splits_table(ordered))


def _key(row: dict[str, Any]) -> Key:
    variant, trained = row.get("variant", ""), row["trained_shot"]
    test = (row["way"], row["shot"], row["transductive"])
    return (row["learner"], variant, *test, trained, _split(row))


def _split(row: dict[str, Any]) -> str:
    return str(row.get("split", OWN_SPLIT))


def _with_published(row: dict[str, Any]) -> dict[str, Any]:
    figures = PUBLISHED.get((row["learner"], row.get("variant", ""), row["transductive"]), {})
    paper, rerun = figures.get((row["way"], row["shot"]), (None, None))
    return {**row, "paper": paper, "rerun": rerun}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| learner | test | accuracy, % | paper | re-run by others | trained at | mode | steps "
        "| minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mode = "transductive" if row["transductive"] else "inductive"
        trained = f"{row['trained_way']}-way {row['trained_shot']}-shot"
        lines.append(
            f"| {_name(row)} | {_test(row)} | {_accuracy(row)} | {row['paper'] or '–'} | "
            f"{row['rerun'] or '–'} | {trained} | {mode} | {_steps(row)} | "
            f"{row.get('processor_seconds', row['seconds']) / 60:.0f} |"
        )
    return "\n".join(lines)


def _papers_table(rows: list[dict[str, Any]]) -> str:
    """Rows that a figure is published for, and how far they are from it (from a re-run if any)."""
    lines = [
        "| learner | test | accuracy, % | paper | re-run by others | beside that | steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        published = row["rerun"] or row["paper"]
        if not published:
            continue
        cells = (
            _name_and_mode(row),
            _test(row),
            _accuracy(row),
            f"{row['paper'] or '–'}",
            f"{row['rerun'] or '–'}",
            f"{row['accuracy'] - published:+.1f}".replace("-0.0", "+0.0"),
            _steps(row),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _tuned_table(rows: list[dict[str, Any]]) -> str:
    """Learners beside plain fine-tuning from where they start, on the same tasks."""
    lines = [
        "| learner | test | accuracy, % | fine-tuning from its start, % | above it, task by task "
        "| steps |",
        "|---|---|---|---|---|---|",
    ]
    own = {(row["command"], row["way"], row["shot"]): row for row in rows}
    for row in rows:
        learned = own.get((row["command"].replace(TUNED, ""), row["way"], row["shot"]))
        if TUNED not in row["command"] or learned is None:
            continue
        gap = row.get("learned_above_this")
        cells = (
            _name(learned),
            _test(row),
            _accuracy(learned),
            _accuracy(row),
            f"{gap['mean']:+.2f} ({gap['low']:+.2f} to {gap['high']:+.2f})" if gap else "–",
            _steps(learned),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _splits_table(rows: list[dict[str, Any]]) -> str:
    """Rows of characters drawn at random, each beside its like by alphabets."""
    lines = [
        "| learner | test | characters at random, % | steps | alphabets apart, % | steps | paper |",
        "|---|---|---|---|---|---|---|",
    ]
    by_key = {_key(row): row for row in rows}
    for row in rows:
        other = by_key.get((*_key(row)[:-1], OWN_SPLIT))
        if other is None or _split(row) == OWN_SPLIT:
            continue
        both = " | ".join(f"{_accuracy(one)} | {_steps(one)}" for one in (row, other))
        lines.append(f"| {_name_and_mode(row)} | {_test(row)} | {both} | {row['paper'] or '–'} |")
    return "\n".join(lines)


def _steps(row: dict[str, Any]) -> str:
    """How many were made; of how many, where the schedule was cut short; and on a GPU."""
    planned = row.get("steps_planned", row["steps"])
    text = f"{row['steps']:,}" + (f" of {planned:,}" if planned != row["steps"] else "")
    return f"{text}, GPU" if row.get("device") == "cuda" else text


def _name(row: dict[str, Any]) -> str:
    variant = row.get("variant", "")
    return f"{row['learner']}, {variant}" if variant else str(row["learner"])


def _name_and_mode(row: dict[str, Any]) -> str:
    return _name(row) + (" (transductive)" if row["transductive"] else "")


def _test(row: dict[str, Any]) -> str:
    return f"{row['way']}-way {row['shot']}-shot"


def _accuracy(row: dict[str, Any]) -> str:
    return f"{row['accuracy']:.2f} ± {row['interval']:.2f}"
