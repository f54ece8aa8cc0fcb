"""Where the time went: a table that adds up, and a trace that other programs open."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medmeta.app.profile import OTHERWISE, profile_rows, profiled, write_trace
from medmeta.errors import SettingsError
from medmeta.spans import WORKS, Event, Recording, Work, span
from tests.app._typed import medmeta

Spent = dict[int, dict[Work, float]]


def recording(seconds: float, spent: Spent) -> Recording:
    """What would be recorded of threads that spent so much on each work."""
    made = Recording(seconds=seconds)
    made.own_seconds = spent
    return made


@pytest.mark.parametrize(
    ("spent", "wanted"),
    [
        ({0: {}}, [0, 0, 0, 0, 10]),
        ({0: {"load": 1, "encode": 2, "inner loop": 3, "outer step": 4}}, [1, 2, 3, 4, 0]),
        ({0: {"load": 4}, 1: {"inner loop": 5}}, [4, 0, 5, 0, 1]),
        # Two workers at once: the busiest was at it for 5 of the 6 seconds left.
        ({0: {"load": 4}, 1: {"inner loop": 5}, 2: {"inner loop": 3}}, [4, 0, 5, 0, 1]),
        # 5 seconds shared out as 6 to 2: the workers' inner loops and outer steps.
        (
            {0: {}, 1: {"inner loop": 4, "outer step": 1}, 2: {"inner loop": 2, "outer step": 1}},
            [0, 0, 3.75, 1.25, 5],
        ),
        # Workers that were busy while the main thread was too get what it left unmarked, no more.
        ({0: {"encode": 8}, 1: {"inner loop": 9, "outer step": 3}}, [0, 8, 1.5, 0.5, 0]),
        ({0: {"inner loop": 10.5}, 1: {"encode": 1}}, [0, 0, 10.5, 0, 0]),
    ],
)
def test_seconds_by_hand(spent: Spent, wanted: list[float]) -> None:
    rows = profile_rows(recording(10.0, spent))
    assert [work for work, _, _ in rows] == [*WORKS, OTHERWISE]
    assert [seconds for _, seconds, _ in rows] == pytest.approx(wanted)
    assert [share for _, _, share in rows] == pytest.approx([w / 10 for w in wanted])


def test_time_in_which_others_were_at_work_is_counted_once() -> None:
    # Nothing of the main thread is marked but 4 to 6; others work in 1-3, 2-5, 5-7 and 9-10.
    made = recording(10.0, {0: {"load": 2}, 1: {"encode": 2 + 2}, 2: {"inner loop": 3 + 1}})
    made.events = [Event("load", 0, 4, 6), Event("encode", 1, 1, 3), Event("inner loop", 2, 2, 5),
                   Event("encode", 1, 5, 7), Event("inner loop", 2, 9, 10)]  # fmt: skip
    shared = (4 - 1) + (7 - 6) + (10 - 9)
    seconds = [seconds for _, seconds, _ in profile_rows(made)]
    assert seconds == pytest.approx([2, shared / 2, shared / 2, 0, 10 - 2 - shared])


def test_too_many_spans_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medmeta.app.profile.MOST_EVENTS", 1)
    made = recording(10.0, {0: {}, 1: {"encode": 4}, 2: {"encode": 3}})
    made.events = [Event("encode", 1, 0, 1)]
    assert [seconds for _, seconds, _ in profile_rows(made)] == pytest.approx([0, 4, 0, 0, 6])


def test_the_trace_is_chromes(tmp_path: Path) -> None:
    made = recording(2.0, {0: {"load": 0.5}, 1: {"encode": 1.0}})
    made.events = [Event("load", 0, 0.25, 0.75), Event("encode", 1, 0.5, 1.5)]
    write_trace(tmp_path / "t.json", made)
    read = json.loads((tmp_path / "t.json").read_text())
    names = {e["tid"]: e["args"]["name"] for e in read["traceEvents"] if e["ph"] == "M"}
    assert names == {0: "main", 1: "worker 1"}
    spans = [e for e in read["traceEvents"] if e["ph"] == "X"]
    assert spans == [
        {"name": "load", "ph": "X", "pid": 0, "tid": 0, "ts": 250_000, "dur": 500_000},
        {"name": "encode", "ph": "X", "pid": 0, "tid": 1, "ts": 500_000, "dur": 1_000_000},
    ]


def test_without_a_place_nothing_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with profiled(None), span("load"):
        pass
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder"), profiled(tmp_path):
        pytest.fail("this must not be run")


@pytest.mark.parametrize("as_json", [True, False])
def test_evaluate_tells_where_its_time_went(
    as_json: bool, run: Path, workplace: Path, copied: Callable[[Path], Path]
) -> None:
    own = copied(run)
    shutil.rmtree(own / "evaluations", ignore_errors=True)
    words = ("--source", workplace / "mine", "--shot", "1", "--query", "2", "--episodes", "6")
    ended = medmeta("evaluate", own, *words, "--profile", *(["--json"] if as_json else []))
    assert ended.code == 0, ended
    told = ended.err if as_json else ended.out
    if as_json:
        assert ended.json()[0]["summary"]["accuracy"]["tasks"] == 6
    for name in (*WORKS, OTHERWISE):
        assert name in told
    read = json.loads((own / "trace-evaluate.json").read_text())
    assert {"load", "encode", "inner loop"} <= {e["name"] for e in read["traceEvents"]}
