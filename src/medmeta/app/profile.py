"""What ``--profile`` says: a table of where the time went, and a trace to look at it closely."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medmeta.app.terminal import check_out, err, out, percent, say, show_table
from medmeta.spans import MOST_EVENTS, WORKS, Recording, recorded
from medmeta.storage import write_bytes

OTHERWISE = "everything else"


@contextmanager
def profiled(trace: Path | None, *, aside: bool = False) -> Iterator[None]:
    """Record the block, then show the table and write the trace; with None nothing of it.

    ``aside``: the table goes to standard error, where it does not mix with JSON. Raises
    ``SettingsError`` where the trace cannot be written, before the block is run.
    """
    if trace is None:
        yield
        return
    check_out(trace, suffixes=(".json",))
    with recorded() as recording:
        yield
    rows = [
        [work, f"{seconds:.2f}", percent(share)] for work, seconds, share in profile_rows(recording)
    ]
    title = f"Where {recording.seconds:.2f} seconds went"
    show_table(title, ["work", "seconds", "%"], rows, console=err if aside else out)
    write_trace(trace, recording)
    say(f"Span by span: {trace} (ui.perfetto.dev and chrome://tracing open it)")


def profile_rows(recording: Recording) -> list[tuple[str, float, float]]:
    """Work, its seconds and its share of all: the four kinds of work, then everything else.

    The seconds add up to those that passed. What the main thread spent on a work counts for that
    work. While it had nothing marked, other threads may have worked for it: as much of that time
    as any of them was at work is shared out in proportion to what all of them did. (Where too much
    was recorded to keep every span, as much as the busiest of them worked.) What is left is
    everything else.

    >>> recording = Recording(seconds=10.0)
    >>> recording.own_seconds = {0: {"load": 2.0}, 1: {"inner loop": 6.0}, 2: {"inner loop": 5.0}}
    >>> [seconds for _, seconds, _ in profile_rows(recording)]
    [2.0, 0.0, 6.0, 0.0, 2.0]
    """
    own = recording.own_seconds.get(0, {})
    seconds = {work: own.get(work, 0.0) for work in WORKS}
    unmarked = max(0.0, recording.seconds - sum(seconds.values()))
    helpers = [spent for thread, spent in recording.own_seconds.items() if thread]
    helped = {work: sum(spent.get(work, 0.0) for spent in helpers) for work in WORKS}
    if any(helped.values()):
        scale = min(unmarked, _helped_for(recording)) / sum(helped.values())
        seconds = {work: seconds[work] + scale * helped[work] for work in WORKS}
    whole = max(recording.seconds, 1e-9)
    rows: list[tuple[str, float]] = [*seconds.items()]
    rows.append((OTHERWISE, max(0.0, recording.seconds - sum(seconds.values()))))
    return [(work, spent, spent / whole) for work, spent in rows]


def _helped_for(recording: Recording) -> float:
    """Seconds in which another thread was at work while the main thread had nothing marked."""
    if not 0 < len(recording.events) < MOST_EVENTS:
        spent = [sum(spent.values()) for thread, spent in recording.own_seconds.items() if thread]
        return max(spent, default=0.0)
    edges = [(event.start, 1, event.thread) for event in recording.events]
    edges += [(event.stop, -1, event.thread) for event in recording.events]
    total = before = 0.0
    at_work = [0, 0]  # the main thread, others
    for moment, change, thread in sorted(edges):
        if at_work[1] and not at_work[0]:
            total += moment - before
        at_work[min(thread, 1)] += change
        before = moment
    return total


def write_trace(path: Path, recording: Recording) -> None:
    """Write the spans as a Chrome trace, in microseconds; raises ``StorageError``."""
    events: list[dict[str, Any]] = [
        {"name": "thread_name", "ph": "M", "pid": 0, "tid": thread, "args": {"name": name}}
        for thread in sorted(recording.own_seconds)
        for name in (f"worker {thread}" if thread else "main",)
    ]
    events += [
        {
            "name": event.work,
            "ph": "X",
            "pid": 0,
            "tid": event.thread,
            "ts": round(1e6 * event.start, 3),
            "dur": round(1e6 * (event.stop - event.start), 3),
        }
        for event in recording.events
    ]
    write_bytes(path, json.dumps({"displayTimeUnit": "ms", "traceEvents": events}).encode())
