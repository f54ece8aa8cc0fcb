"""Spans: what is counted, for whom, and that nothing is while nobody looks."""

from __future__ import annotations

import threading
import time

import pytest

from medmeta import spans
from medmeta.spans import recorded, span


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands until it is put on."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_a_span_within_a_span_counts_for_itself(clock: list[float]) -> None:
    with recorded() as recording, span("inner loop"):
        clock[0] += 1
        with span("encode"):
            clock[0] += 2
        with span("encode"):
            clock[0] += 4
        clock[0] += 8
    assert dict(recording.own_seconds[0]) == {"inner loop": 9, "encode": 6}
    assert recording.seconds == 15
    assert [(e.work, e.start, e.stop) for e in recording.events] == [
        ("encode", 1, 3),
        ("encode", 3, 7),
        ("inner loop", 0, 15),
    ]


def test_threads_are_told_apart() -> None:
    def work() -> None:
        with span("outer step"):
            pass

    with recorded() as recording:
        with span("load"):
            pass
        for _ in range(2):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    works = {(e.work, e.thread == 0) for e in recording.events}
    assert works == {("load", True), ("outer step", False)}


def test_nothing_is_kept_outside_a_recording() -> None:
    with span("load"):
        pass
    with recorded() as recording:
        pass
    with span("load"):
        pass
    assert recording.events == []


def test_a_span_that_ends_in_an_error_is_counted() -> None:
    with recorded() as recording, pytest.raises(KeyError), span("load"):
        raise KeyError
    assert len(recording.events) == 1


def test_events_are_bounded_and_seconds_are_not(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.setattr(spans, "MOST_EVENTS", 2)
    with recorded() as recording:
        for _ in range(5):
            with span("load"):
                clock[0] += 1
    assert len(recording.events) == 2
    assert recording.own_seconds[0]["load"] == 5
