"""What a learner chose for a task, from what and why, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmeta.app.terminal import percent, say, show_table

SHOWN = 8


def show_choice(choice: Mapping[str, Any]) -> None:
    """The best candidates with their figures, then the choice with its reason."""
    rows = choice_rows(choice)[:SHOWN]
    if rows:
        valued = choice["kind"] == "values"
        header = ["candidate", *(["squared error"] if valued else ["accuracy", "log loss"])]
        more = len(choice["candidates"]) - len(rows)
        title = f"Candidates on images held out{f', the best of {len(rows) + more}' * (more > 0)}"
        show_table(title, header, [row if not valued else (row[0], row[2]) for row in rows])
    if tuned := choice.get("tuned"):
        asked = [{"name": "chosen on embeddings", **tuned["on_embeddings"]}, *tuned["networks"]]
        header = ["network tuned within the task", "accuracy", "log loss"]
        show_table("Whole networks on images held out", header, [_row(row) for row in asked])
    say(f"Chosen: {choice['why']}")
    say(choice["how"])
    if choice.get("nested"):
        longer = ", among the fixed candidates alone" if choice.get("further") else ""
        say(f"The estimate below was made with the choice made again in every fold{longer}.")


def choice_rows(choice: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, accuracy and loss of each candidate that was compared, from the best expected."""
    return [_row(row) for row in choice["candidates"] if row["loss"] is not None]


def _row(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["name"], percent(row["accuracy"]), f"{row['loss']:.3f}"
