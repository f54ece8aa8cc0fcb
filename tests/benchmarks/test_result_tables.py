"""Tables of results: what is kept, what is done, and the arithmetic of their columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import medical_table
import omniglot_table
from medical_recipes import REFERENCE, SHOTS, STEPS, TESTED_ON, called_after
from page_tables import kept_rows


def cell(learner: str, encoder: str, accuracy: float, gap: float | None) -> list[dict[str, Any]]:
    """The same row for every source and shot."""
    difference = None if gap is None else {"mean": gap, "low": gap - 1, "high": gap + 1}
    row = {"learner": learner, "encoder": encoder, "accuracy": accuracy, "interval": 1.0}
    row |= {"difference": difference, "transductive": False, "seconds_per_task": 0.5}
    return [{**row, "source": source, "shot": shot} for source in TESTED_ON for shot in SHOTS]


def lines(table: str) -> list[list[str]]:
    """Cells of the rows below the heading."""
    return [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_learners_stand_by_their_mean_beside_the_reference() -> None:
    rows = (
        cell(*REFERENCE, 50.0, None) + cell("worse", "x", 46.0, -4.0) + cell("best", "x", 53.0, 3.0)
    )
    best, reference, worse = lines(medical_table.main_table(rows))
    assert (best[0], reference[0], worse[0]) == ("best", REFERENCE[0], "worse")
    assert best[-4:] == ["53.0", "+3.0", "12, worse in 0", "0.5"]
    assert reference[-3] == "reference"
    assert worse[-3:-1] == ["-4.0", "0, worse in 12"]


def test_longer_trainings_have_a_table_of_their_own_beside_the_budget() -> None:
    told = called_after("x", 4 * STEPS)
    more = [row | {"steps": 4 * STEPS} for row in cell("one", told, 51.0, 1.5)]
    rows = cell(*REFERENCE, 50.0, None) + cell("one", "x", 48.0, -2.0) + more
    assert [line[1] for line in lines(medical_table.main_table(rows))] == [REFERENCE[1], "x"]
    (row,) = lines(medical_table.more_training_table(rows))
    assert row[:3] == ["one", "x", f"{4 * STEPS:,}"]
    assert row[-4:] == ["51.0", "48.0", "+1.5", "12, worse in 0"]


def test_a_learner_that_lacks_a_cell_is_not_ranked() -> None:
    rows = cell(*REFERENCE, 50.0, None) + cell("begun", "x", 60.0, 10.0)[:-1]
    assert [line[0] for line in lines(medical_table.main_table(rows))] == [REFERENCE[0]]


def test_a_row_takes_the_place_of_its_like(tmp_path: Path) -> None:
    results, page = tmp_path / "medical.json", tmp_path / "results.md"
    assert kept_rows(results) == []
    first, second = cell("one", "x", 40.0, None), cell("one", "x", 41.0, None)[:1]
    medical_table.write_rows(results, page, first)
    medical_table.write_rows(results, page, second)
    kept = kept_rows(results)
    assert len(kept) == len(first)
    assert sorted(row["accuracy"] for row in kept) == [40.0] * (len(first) - 1) + [41.0]


def test_what_is_done_is_told_by_command_and_steps() -> None:
    rows = [{"command": "one", "steps": 10}]
    assert omniglot_table.is_done(rows, "one")
    assert omniglot_table.is_done(rows, "one", 10)
    assert not omniglot_table.is_done(rows, "one", 20)
    assert not omniglot_table.is_done(rows, "two")


def omniglot_row(split: str, accuracy: float) -> dict[str, Any]:
    variant = "plain descent within tasks"
    row = {"learner": "reptile", "variant": variant, "way": 5, "shot": 1, "transductive": True}
    row |= {"trained_way": 5, "trained_shot": 1, "steps": 20000, "seconds": 60.0}
    return {**row, "accuracy": accuracy, "interval": 0.5, "split": split, "command": split}


def omniglot_page() -> str:
    """The marks that tables are written between."""
    begins = ("BEGIN_PAPERS", "BEGIN", "BEGIN_TUNED", "BEGIN_SPLITS")
    named = [name for begin in begins for name in (begin, begin.replace("BEGIN", "END"))]
    return "\n\n".join(getattr(omniglot_table, name) for name in named)


def omniglot_tables(page: str) -> list[list[list[str]]]:
    return [
        lines(part[part.index("|") : part.rindex("|") + 1]) for part in page.split("begin -->")[1:]
    ]


def test_a_learner_stands_beside_fine_tuning_from_its_start(tmp_path: Path) -> None:
    results, page = tmp_path / "omniglot.json", tmp_path / "results.md"
    page.write_text(omniglot_page())
    learned = {**omniglot_row("alphabets", 86.5), "learner": "metal", "variant": ""}
    learned |= {"command": "train metal"}
    tuned = {**omniglot_row("alphabets", 86.0), "learner": "fine_tuning"}
    tuned |= {"command": "train metal:fine_tuning"}
    tuned |= {"learned_above_this": {"mean": 0.5, "low": -0.1, "high": 1.1}}
    omniglot_table.write_table(results, page, [learned, tuned])
    (line,) = omniglot_tables(page.read_text())[2]
    assert line[0] == "metal"
    assert line[2:5] == ["86.50 ± 0.50", "86.00 ± 0.50", "+0.50 (-0.10 to +1.10)"]


def test_rows_of_another_split_stand_beside_their_like_and_not_in_the_main_table(
    tmp_path: Path,
) -> None:
    results, page = tmp_path / "omniglot.json", tmp_path / "results.md"
    page.write_text(omniglot_page())
    rows = [omniglot_row("alphabets", 95.0), omniglot_row("characters", 97.0)]
    omniglot_table.write_table(results, page, rows)
    assert len(kept_rows(results)) == 2
    (beside,), (own,), tuned, (both,) = omniglot_tables(page.read_text())
    assert tuned == []
    assert beside[2:6] == ["95.00 ± 0.50", "97.68", "97.7", "-2.7"]
    assert own[2] == "95.00 ± 0.50"
    assert both[:3] == [
        "reptile, plain descent within tasks (transductive)",
        "5-way 1-shot",
        "97.00 ± 0.50",
    ]
    assert both[4:] == ["95.00 ± 0.50", "20,000", "97.68"]
