"""The table of trust: goals that are missed stand out, and what was measured is not lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trust_table
from page_tables import kept_rows


def row(value: float, goal: list[float | None], **changes: Any) -> dict[str, Any]:
    found = {"measure": "ECE after", "source": "ph2", "shot": 5, "tasks": 300, "value": value}
    return {**found, "low": value - 0.01, "high": value + 0.01, "goal": goal, **changes}


def test_a_goal_is_a_pair_of_bounds() -> None:
    assert trust_table.reached(row(0.04, [None, 0.05])) is True
    assert trust_table.reached(row(0.06, [None, 0.05])) is False
    assert trust_table.reached(row(0.88, [0.9, 0.99])) is False
    assert trust_table.reached(row(0.95, [0.9, 0.99])) is True
    assert trust_table.reached(row(0.5, [None, None])) is None


def test_missed_goals_are_bold_and_other_sources_left_out() -> None:
    rows = [
        row(0.04, [None, 0.05]),
        row(0.06, [None, 0.05], source="wbc1", tasks=100),
        row(2.0, [None, 3.0], measure="seconds", source="pbc_blood"),
    ]
    lines = trust_table.table(rows).splitlines()
    assert lines[0] == "| measure | shot | ph2 | wbc1 | goal | tasks |"
    assert lines[2] == (
        "| ECE after | 5 | 0.040 [0.030, 0.050] | **0.060 [0.050, 0.070]** | ≤ 0.05 | 100, 300 |"
    )
    assert len(lines) == 3


def test_a_figure_takes_the_place_of_its_like(tmp_path: Path) -> None:
    results, page = tmp_path / "trust.json", tmp_path / "results.md"
    trust_table.write_rows(
        results, page, [row(0.04, [None, 0.05]), row(0.3, [None, None], shot=10)]
    )
    trust_table.write_rows(results, page, [row(0.02, [None, 0.05])])
    assert [(r["shot"], r["value"]) for r in kept_rows(results)] == [(5, 0.02), (10, 0.3)]
