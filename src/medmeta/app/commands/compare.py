"""``medmeta compare``: two evaluations, task by task."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import typer

from medmeta.app.commands.options import AsJson
from medmeta.app.terminal import emit_json, percent, show_facts
from medmeta.errors import DataError

TASK_COLUMNS = ("task", "n_way", "n_shot")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    first: Annotated[Path, typer.Argument(help="A folder in RUN/evaluations.")],
    second: Annotated[Path, typer.Argument(help="One of another run, of the same protocol.")],
    metric: Annotated[str, typer.Option(help="A column of the records.")] = "accuracy",
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations task by task: mean difference with its 95 % interval.

    Example: medmeta compare run_a/evaluations/busi-1shot-… run_b/evaluations/busi-1shot-…
    """
    from medmeta.evaluation.intervals import paired_difference

    one, one_tasks = _records(first, metric)
    two, two_tasks = _records(second, metric)
    if _tasks(first) != _tasks(second) or one_tasks != two_tasks:
        raise DataError(
            f"{first} and {second} were not measured on the same tasks; evaluate both runs on the "
            "same sources with the same --way, --shot, --query, --episodes and --seed. (Pictures "
            "that one of the runs was trained on are left out for it alone.)"
        )
    gap = paired_difference(one, two)
    if as_json:
        facts = {
            "mean difference": gap.mean,
            "low": gap.low,
            "high": gap.high,
            "tasks": gap.tasks,
            "share of tasks the first wins": gap.first_better,
        }
        emit_json({"metric": metric, **facts})
        return
    told = {
        "mean difference": f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] (95 %)",
        "tasks": gap.tasks,
        "first is higher": f"in {percent(gap.first_better)} % of tasks",
    }
    show_facts(f"{metric}: {first.name} minus {second.name}", {"first": first, "second": second}
               | told)  # fmt: skip


def _tasks(folder: Path) -> dict[str, Any]:
    from medmeta.app.cards import EvaluationCard, check_card
    from medmeta.storage import read_json

    summary = read_json(folder / "summary.json")
    check_card(EvaluationCard, summary, where=folder / "summary.json")
    protocol = dict(summary["protocol"])
    for name in ("norm", "transductive", "tasks_per_batch"):
        protocol.pop(name, None)  # these change the learner's way of answering, not the tasks
    pictures = summary.get("fingerprint")
    return {"source": summary["source"], "pictures": pictures, **protocol}


def _records(folder: Path, metric: str) -> tuple[Any, list[str]]:
    import numpy as np

    try:
        with (folder / "records.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(
            f"{folder}/records.csv cannot be read ({error.strerror}); name a folder in "
            "RUN/evaluations."
        ) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{folder}/records.csv is damaged ({error}); evaluate again.") from None
    known = [name for name in rows[0] if name not in TASK_COLUMNS] if rows else []
    if metric not in known:
        raise DataError(
            f"{folder}/records.csv has no figure {metric!r}; it has {', '.join(known) or 'none'}."
        )
    try:
        return np.array([float(row[metric]) for row in rows]), [row["task"] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}/records.csv is damaged ({error}); evaluate again.") from None
