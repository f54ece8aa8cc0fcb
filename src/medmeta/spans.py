"""Where the time goes: named spans of work, recorded only while a profile is being taken."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

Work = Literal["load", "encode", "inner loop", "outer step"]
"""What a span is spent on: filling tasks with images, embedding them, learning within tasks
(answering queries included), and learning across tasks (backward pass and optimiser)."""

WORKS: tuple[Work, ...] = ("load", "encode", "inner loop", "outer step")
MOST_EVENTS = 200_000


@dataclass(frozen=True)
class Event:
    """One span: what, in which thread (0 is the one that records), from and to in seconds."""

    work: Work
    thread: int
    start: float
    stop: float


@dataclass
class Recording:
    """What was recorded: spans (at most 200,000), and the seconds of each thread by work.

    A span within a span counts for itself, not for the outer one.
    """

    seconds: float = 0.0
    events: list[Event] = field(default_factory=list)
    own_seconds: dict[int, dict[Work, float]] = field(default_factory=dict)
    _started: float = field(default_factory=lambda: time.perf_counter())
    _threads: dict[int, int] = field(default_factory=dict)
    _inner: dict[int, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._number()

    def _number(self) -> int:
        with self._lock:
            number = self._threads.setdefault(threading.get_ident(), len(self._threads))
            self.own_seconds.setdefault(number, defaultdict(float))
            self._inner.setdefault(number, [0.0])
            return number

    def enter(self) -> int:
        """A span of this thread begins; returns the thread's number."""
        number = self._number()
        self._inner[number].append(0.0)
        return number

    def leave(self, work: Work, number: int, start: float, stop: float) -> None:
        """It ends."""
        inner = self._inner[number].pop()
        self._inner[number][-1] += stop - start
        self.own_seconds[number][work] += stop - start - inner
        if len(self.events) < MOST_EVENTS:
            self.events.append(Event(work, number, start - self._started, stop - self._started))


_recording: Recording | None = None


class span:  # noqa: N801 - used as a statement: with span("load")
    """Marks work: ``with span("load"): ...``. Costs next to nothing while nothing is recorded."""

    __slots__ = ("_into", "_number", "_start", "_work")

    def __init__(self, work: Work) -> None:
        self._work: Work = work
        self._into: Recording | None = None

    def __enter__(self) -> None:
        self._into = _recording
        if self._into is not None:
            self._number = self._into.enter()
            self._start = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._into is not None:
            self._into.leave(self._work, self._number, self._start, time.perf_counter())


@contextmanager
def recorded() -> Iterator[Recording]:
    """Record the spans of all threads until the end of the block.

    >>> with recorded() as recording:
    ...     with span("load"):
    ...         pass
    >>> [event.work for event in recording.events]
    ['load']
    """
    global _recording
    recording = Recording()
    before, _recording = _recording, recording
    try:
        yield recording
    finally:
        _recording = before
        recording.seconds = time.perf_counter() - recording._started
