"""The tables of few-shot segmentation in ``docs/results.md``, made from their record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_tables import replace_between

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- segmentation: begin -->", "<!-- segmentation: end -->"
SHOTS = (1, 5, 10)
CHOSEN = ("conditioned U-Net", "joint U-Nets", "medmeta-masks, in the box")
"""Those best on structures of their own, of one image and of five; and what comes along."""
Rows = list[dict[str, Any]]


def write_table(rows: Rows) -> None:
    """Put the tables between their marks."""
    page = ROOT / "docs" / "results.md"
    parts = [_of_shot(rows, shot) for shot in SHOTS]
    verdicts = [_verdict(rows, name) for name in CHOSEN]
    text = "\n".join([*parts, *verdicts, _curve(rows)])
    replace_between(page, BEGIN, END, text)


def _of_shot(rows: Rows, shot: int) -> str:
    own = {(r["learner"], r["structure"]): r for r in rows if r["shot"] == shot}
    learners = [name for name in in_order(rows) if any(r[0] == name for r in own)]
    structures = list(dict.fromkeys(r["structure"] for r in rows))
    structures = [s for s in structures if any((name, s) in own for name in learners)]
    images = f"{shot} labelled image{'' if shot == 1 else 's'}"
    lines = [f"{images}, Dice in % [95 % interval over patients]:\n"]
    lines.append("| learner | " + " | ".join(structures) + " |")
    lines.append("|---" * (len(structures) + 1) + "|")
    best = {s: max(own[n, s]["dice"] for n in learners if (n, s) in own) for s in structures}
    for name in learners:
        cells = [_cell(own.get((name, s)), best[s]) for s in structures]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def in_order(rows: Rows) -> list[str]:
    """Learners, those that learned across tasks first."""
    ordered = sorted(rows, key=lambda row: not row["meta_learned"])
    return list(dict.fromkeys(row["learner"] for row in ordered))


def _cell(row: dict[str, Any] | None, best: float) -> str:
    if row is None:
        return "–"
    figure = f"{100 * row['dice']:.0f}"
    figure = f"**{figure}**" if row["dice"] == best else figure
    if row["low"] is None:
        return figure
    return f"{figure} [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"


def _verdict(rows: Rows, chosen: str) -> str:
    """How often a learner that was chosen on other structures beats each of the others."""
    lines = [
        f"On how many structures the Dice of {chosen} is higher, on tasks that both were asked:\n"
    ]
    lines += ["| against | 1 image | 5 images | 10 images |", "|---|---|---|---|"]
    for name in in_order(rows):
        if name == chosen:
            continue
        cells = []
        for shot in SHOTS:
            own = {(r["learner"], r["structure"]): r for r in rows if r["shot"] == shot}
            found = [
                _side_by_side(own[chosen, structure], row)
                for (learner, structure), row in own.items()
                if learner == name and (chosen, structure) in own
            ]
            pairs = [pair for pair in found if pair is not None]
            won = sum(ours > theirs for ours, theirs in pairs)
            cells.append(f"{won} of {len(pairs)}" if pairs else "–")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _side_by_side(row: dict[str, Any], other: dict[str, Any]) -> tuple[float, float] | None:
    """The Dice of two learners on the tasks that both were asked; None where it is not known."""
    shared = min(row["tasks"], other["tasks"])
    found: list[float] = []
    for one in (row, other):
        if one["tasks"] > shared and "by_task" not in one:
            return None
        part = one.get("by_task", [])[:shared]
        found.append(sum(part) / len(part) if one["tasks"] > shared else one["dice"])
    return found[0], found[1]


def _curve(rows: Rows) -> str:
    shots = sorted({r["shot"] for r in rows})
    lines = ["Dice in % with the number of labelled images:\n"]
    lines += ["| structure, learner | " + " | ".join(map(str, shots)) + " |"]
    lines += ["|---" * (len(shots) + 1) + "|"]
    grown = [r for r in rows if r["shot"] not in SHOTS]
    for structure, name in dict.fromkeys((r["structure"], r["learner"]) for r in grown):
        own = {
            r["shot"]: r["dice"]
            for r in rows
            if r["structure"] == structure and r["learner"] == name
        }
        cells = [f"{100 * own[shot]:.0f}" if shot in own else "–" for shot in shots]
        lines.append(f"| {structure}, {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_table(json.loads((ROOT / "docs" / "segmentation.json").read_text("utf-8")))
