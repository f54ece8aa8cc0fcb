"""What ``medmeta evaluate`` shows: a line for each source, head and number of shots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medmeta.app.commands.masks import show_structures
from medmeta.app.terminal import percent, say, show_table

if TYPE_CHECKING:
    from medmeta.app.evaluate_run import EvaluatedSource

NOVELTY = {"new classes": "new", "nothing was trained": "–"}  # short, for a narrow terminal
MAIN = {
    "classes": ("accuracy", "Accuracy"),
    "masks": ("dice", "Dice"),
    "values": ("r_squared", "R²"),
}
TOLD_APART = "; queries answered one by one (inductive) or all together (transductive)"


def _mode(row: EvaluatedSource) -> str:
    return "transductive" if row.evaluation.protocol.transductive else "inductive"


def _undefined(row: EvaluatedSource) -> bool:
    """Whether values were measured without one task that has an R²."""
    found = row.evaluation.summary.get("r_squared")
    return found is not None and not found.tasks


def show_evaluations(rows: list[EvaluatedSource]) -> None:
    """The table, a line each; then structures of masks, and notes."""
    table, headed = [], any(row.head for row in rows)
    modes = [_mode(row) for row in rows]
    mixed = len(set(modes)) > 1
    for row, mode in zip(rows, modes, strict=True):
        content = row.to_dict()
        protocol, summary = row.evaluation.protocol, content["summary"]
        main = summary[MAIN[protocol.kind][0]]
        beside = content["baselines"]
        named = [row.head["name"] if row.head else "its own"] if headed else []
        named += [{"inductive": "one", "transductive": "all"}[mode]] if mixed else []
        table.append(
            [
                row.evaluation.source,
                *named,
                NOVELTY.get(row.novelty, row.novelty),
                "–" if protocol.kind == "values" else protocol.n_way[1],
                protocol.n_shot[0],
                f"{percent(main['mean'])} [{percent(main['low'])}, {percent(main['high'])}]",
                percent(main["worst_tenth"]),
                percent((summary.get("auroc") or {}).get("mean")),
                percent((beside.get("chance") or {}).get("mean")),
                percent((beside.get("ridge on raw pixels") or {}).get("mean")),
            ]
        )
    kind = rows[0].evaluation.protocol.kind
    show_table(
        f"{MAIN[kind][1]}, % [95 % interval of the mean over tasks]"
        + (TOLD_APART if mixed else f", {modes[0]}"),
        ["source", *(["head"] if headed else []), *(["queries"] if mixed else []),
         "classes are", "way", "shot", "mean [95 %]", "worst tenth", "AUROC", "chance",
         "raw ridge"],
        table,
    )  # fmt: skip
    if any(_undefined(row) for row in rows):
        say(
            "R² is how much better answers are than the mean of a task's values, so it needs two "
            "queries or more, with different values: say --query 2 or more."
        )
    show_structures([row.evaluation for row in rows])
    for note in dict.fromkeys(f"{r.evaluation.source}: {n}" for r in rows for n in r.notes):
        say(note)
