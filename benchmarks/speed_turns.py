"""Two sides of a row, each in a process of its own, working in turn: A B A B ..."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speed_rows.row import Row, Side

SCRIPT = Path(__file__).with_name("speed_side.py")


class SideFailedError(Exception):
    """A side could not be made ready, or ended before its time."""


@dataclass(frozen=True)
class Effort:
    """How long and how often: ``seconds`` a turn, ``turns`` of each side."""

    folder: Path
    seconds: float = 2.0
    turns: int = 7
    quick: bool = False
    seed: int = 0
    most_threads: int = field(default_factory=lambda: os.cpu_count() or 1)


class Process:
    """A running side."""

    def __init__(self, row: Row, side: Side, threads: int, effort: Effort) -> None:
        asked = {
            "row": row.name,
            "side": "ours" if side is row.ours else "theirs",
            "threads": threads,
            "folder": str(effort.folder),
            "quick": effort.quick,
            "seed": effort.seed,
        }
        self.threads = threads
        self._called = side.called
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("SPEED_VERBOSE") else subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            text=True,
        )
        self.ready = self._answer()
        if "cannot" in self.ready:
            self._close()
            raise SideFailedError(f"{side.called}: {self.ready['cannot']}")

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._close()
            raise SideFailedError(
                f"{self._called}: its process ended with {code}; SPEED_VERBOSE=1 shows why"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line, wait for its answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its answer tells
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        return self._answer()

    def turn(self, seconds: float) -> float:
        """One turn's value."""
        value: float = self.ask(f"turn {seconds}")["value"]
        return value

    def end(self) -> dict[str, Any]:
        """Let it end; returns what it has to say besides."""
        beside: dict[str, Any] = self.ask("end")["beside"]
        self._close()
        return beside

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._close()

    def _close(self) -> int:
        self._process.communicate()  # closes the pipes and waits
        return self._process.returncode


def best_process(row: Row, side: Side, effort: Effort) -> Process:
    """The side on the number of threads that suits it best, warmed up."""
    able = [n for n in side.threads if n <= effort.most_threads] or [1]
    tried = []
    for threads in able[:1] if effort.quick else able:
        process = Process(row, side, threads, effort)
        if len(able) > 1 or row.measures == "turn":
            process.turn(effort.seconds)  # warms up
        tried.append((process.turn(effort.seconds) if len(able) > 1 else 0.0, process))
    choose = min if row.less_is_better else max
    _, best = choose(tried, key=lambda pair: pair[0])
    for _, process in tried:
        if process is not best:
            process.stop()
    return best


@dataclass(frozen=True)
class Measured:
    """Values of a side's turns, its process's peak, and what it said.

    ``memory_mb`` above what the imports took; ``settled_mb`` above what was taken after a first
    tiny piece of work, by sides that have one.
    """

    values: list[float]
    threads: int
    memory_mb: float
    settled_mb: float | None
    parts: dict[str, float]
    versions: dict[str, str]
    check: list[float] | None
    beside: dict[str, Any]
    limit: dict[str, float] | None = None

    @property
    def median(self) -> float:
        """Of the values."""
        return statistics.median(self.values)


def measure(row: Row, effort: Effort) -> tuple[Measured, Measured | None, str]:
    """Both sides in turn; ``None`` and why, where there is no other side.

    Raises ``SideFailedError`` where our own side fails.
    """
    mine = best_process(row, row.ours, effort)
    theirs, why = None, ""
    if row.theirs is not None:
        try:
            theirs = best_process(row, row.theirs, effort)
        except SideFailedError as error:
            why = str(error)
    running = [process for process in (mine, theirs) if process is not None]
    values: list[list[float]] = [[] for _ in running]
    turns = 2 if effort.quick else row.turns or effort.turns
    for _ in range(turns):
        for process, taken in zip(running, values, strict=True):
            taken.append(process.turn(effort.seconds))
    results = [
        _result(process, taken, with_limit=process is mine)
        for process, taken in zip(running, values, strict=True)
    ]
    return results[0], results[1] if theirs is not None else None, why


def _result(process: Process, values: list[float], *, with_limit: bool) -> Measured:
    memory = process.ask("memory")
    limit = process.ask("limit")["limit"] if with_limit else None
    return Measured(
        values=values,
        threads=process.threads,
        memory_mb=memory["memory"][0],
        settled_mb=memory["memory"][1] if len(memory["memory"]) > 1 else None,
        parts=memory["parts"],
        versions=process.ready["versions"],
        check=process.ready["check"],
        beside=process.end(),
        limit=limit,
    )
