from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import speed
from speed_rows import ROWS
from speed_rows.pictures import draw_pictures, seeded_episode, write_folder
from speed_rows.row import Goal, Job, Row, Setting, Side, joined
from speed_table import BEGIN, END, line_of, table, write_rows
from speed_turns import Effort, Measured, SideFailedError


def side(values: list[float], **changes: Any) -> Measured:
    known: dict[str, Any] = {
        "values": values,
        "threads": 2,
        "memory_mb": 10.0,
        "settled_mb": None,
        "parts": {},
        "versions": {"torch": "2", "numpy": "2", "medmeta": "1", "learn2learn": "0.2"},
        "check": [1.0, 2.0],
        "beside": {},
        "limit": None,
    }
    return Measured(**(known | changes))


def row(**changes: Any) -> Row:
    def make(setting: Setting) -> Job:
        return Job(lambda least: 1.0)

    known: dict[str, Any] = {
        "name": "maml-1q-learn2learn",
        "work": "a step",
        "unit": "tasks/s",
        "ours": Side(make),
        "theirs": Side(make, peer="learn2learn", called="learn2learn"),
        "goal": Goal("least", 1.7),
    }
    return Row(**(known | changes))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What comes of a row when its sides measure so."""

    def result(of: Row, mine: Measured, theirs: Measured | None, why: str = "") -> dict[str, Any]:
        monkeypatch.setattr(speed, "measure", lambda row, effort: (mine, theirs, why))
        return speed.result(of, Effort(tmp_path))

    return result


def test_ratio_of_medians_against_the_goal(measured: Any) -> None:
    held = measured(row(), side([30, 10, 20]), side([8, 10, 12]))
    assert (held["ours"], held["theirs"], held["ratio"]) == (20, 10, 2)
    assert held["met"]
    assert held["spread"] == {"ours": [15, 25], "theirs": [9, 11]}
    assert held["agreement"] == 0
    assert held["peer"] == "learn2learn 0.2"


def test_fraction_of_the_limit(measured: Any) -> None:
    limit = {"seconds_per_unit": 0.01}
    rated = measured(row(), side([20.0], limit=limit), side([10.0]))
    assert rated["limit_fraction"] == pytest.approx(0.2)  # 100 a second could be had
    lasting = measured(row(unit="s", theirs=None), side([0.05], limit=limit), None)
    assert lasting["limit_fraction"] == pytest.approx(0.2)


def test_a_missing_peer_leaves_its_figure_empty(measured: Any) -> None:
    held = measured(row(), side([20.0]), None, why="learn2learn cannot be imported")
    assert held["ours"] == 20
    assert held["theirs"] is held["ratio"] is held["met"] is None
    assert "cannot be imported" in table([held])


def test_our_own_failure_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(row: Row, effort: Effort) -> None:
        raise SideFailedError("no such thing")

    monkeypatch.setattr(speed, "measure", fails)
    held = speed.result(row(), Effort(tmp_path))
    assert held["ours"] is None
    assert "no such thing" in line_of(held)


def test_memory_is_measured_in_its_own_row(measured: Any) -> None:
    of = row(measures="memory", unit="MB", pace="tasks/s", goal=Goal("most", 300, "difference"))
    held = measured(of, side([7.0], memory_mb=500.0), side([9.0], memory_mb=250.0))
    assert (held["ours"], held["theirs"]) == (500, 250)
    assert held["met"]
    assert held["pace"] == {"unit": "tasks/s", "ours": 7, "theirs": 9}


def test_disagreement_is_relative_and_the_largest(measured: Any) -> None:
    held = measured(row(), side([1.0], check=[1.0, 100.0]), side([1.0], check=[1.0, 90.0]))
    assert held["agreement"] == pytest.approx(0.1)


def test_a_row_without_its_gpu_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    held = speed.result(ROWS["gpu-maml-1q-learn2learn"], Effort(tmp_path))
    assert held["ours"] is held["theirs"] is None
    assert "no GPU at hand" in line_of(held)


def test_rows_measured_before_stay_and_the_page_follows(tmp_path: Path, measured: Any) -> None:
    results, page = tmp_path / "speed.json", tmp_path / "speed.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    one = measured(row(name="one"), side([20.0]), side([10.0]))
    two = measured(row(name="two", work="other work"), side([2.0]), side([1.0]))
    write_rows(results, page, [two], order=["one", "two"])
    write_rows(results, page, [one], order=["one", "two"])
    assert [r["name"] for r in json.loads(results.read_text())] == ["one", "two"]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "other work" in text
    write_rows(results, page, [], order=["two"])
    assert [r["name"] for r in json.loads(results.read_text())] == ["two"]


def test_goals() -> None:
    assert Goal("least", 1.5).met(3.0, 2.0)
    assert not Goal("most", 1.3).met(1.4, 1.0)
    assert Goal("most", 300, "difference").met(550.0, 250.0)
    assert Goal("least", 1.5).met(3.0, None) is None


def test_rows_are_asked_for_by_pattern() -> None:
    assert speed.chosen("maml-1q-*", []) == [n for n in ROWS if n.startswith("maml-1q-")]
    assert "draw-10-million" not in speed.chosen(None, ["draw-10-million"])
    with pytest.raises(SystemExit, match="no row is called"):
        speed.chosen("nothing", [])


def test_two_rows_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        joined((row(),), (row(),))


def test_pictures_are_seeded_and_classes_differ(tmp_path: Path) -> None:
    pictures = draw_pictures(3, 2, 16, 1, seed=5)
    assert (pictures == draw_pictures(3, 2, 16, 1, seed=5)).all()
    means = pictures.astype(float).mean(1)
    within = abs(pictures[0, 0].astype(float) - means[0]).mean()
    assert abs(means[0] - means[1]).mean() > 2 * within
    write_folder(tmp_path, 3, 2, 16, 1)
    assert len(list(tmp_path.rglob("*.png"))) == 6


def test_episodes_are_seeded() -> None:
    one, same = (seeded_episode(4, 2, 3, 1, 2, (1, 8, 8)) for _ in range(2))
    assert one.support.labels.tolist() == [[0, 1, 2]] * 2
    assert one.query.labels.tolist() == [[0, 0, 1, 1, 2, 2]] * 2
    assert (one.query.inputs == same.query.inputs).all()  # type: ignore[union-attr]
