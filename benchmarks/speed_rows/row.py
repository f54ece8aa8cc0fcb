"""What a row of the speed table is: one piece of work, done by two sides in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medmeta.training.settings import Precision


@dataclass(frozen=True)
class Setting:
    """How a side is to work: with how many threads, where it may write, how much it does.

    ``quick`` is for trying whether a row runs at all: the least work that goes through all of it.
    ``settle`` may be called after a first tiny piece of work, when libraries have loaded what they
    load late: memory is told from there too.
    """

    threads: int
    folder: Path
    quick: bool = False
    device: str = "cpu"
    seed: int = 0
    settle: Callable[[], None] = lambda: None

    def count(self, real: int, quick: int) -> int:
        """A number of things, or a small one."""
        return quick if self.quick else real


@dataclass
class Job:
    """A side made ready. ``turn(seconds)`` works about so long and returns the row's value.

    ``plain`` does the same work once in the plainest way, for its operations to be counted, and
    returns the units done. ``check`` are figures that both sides must agree on: they come from the
    same weights and the same images. ``beside`` is told with the row.
    """

    turn: Callable[[float], float]
    plain: Callable[[], float] | None = None
    check: Callable[[], list[float]] | None = None
    beside: Callable[[], dict[str, Any]] = dict


@dataclass(frozen=True)
class Side:
    """Who does the work: ``peer`` None is medmeta itself, else a library of ``peers.py``.

    ``threads`` are those it is tried with; the faster is kept. ``called`` is its name in the table.
    """

    make: Callable[[Setting], Job]
    peer: str | None = None
    threads: tuple[int, ...] = (1, 2)
    precision: Precision = "float32"
    called: str = "medmeta"


@dataclass(frozen=True)
class Goal:
    """What is wanted of the ratio ours / theirs, of our own value, or of the difference."""

    at: Literal["least", "most"]
    value: float
    of: Literal["ratio", "ours", "difference"] = "ratio"

    def met(self, ours: float | None, theirs: float | None) -> bool | None:
        """Whether it is reached; None where that cannot be said.

        >>> Goal("least", 1.7).met(18.0, 10.0), Goal("most", 5, "ours").met(6.0, None)
        (True, False)
        """
        if ours is None or (theirs is None and self.of != "ours"):
            return None
        reached = ours
        if self.of != "ours" and theirs is not None:
            reached = ours / theirs if self.of == "ratio" else ours - theirs
        return reached >= self.value if self.at == "least" else reached <= self.value

    def __str__(self) -> str:
        sign = "≥" if self.at == "least" else "≤"
        name = {"ratio": "ratio", "ours": "", "difference": "difference"}[self.of]
        return f"{name} {sign} {self.value:g}".strip()


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``prepare`` writes what both sides read, once, into a folder. ``measures`` is what a turn
    returns, or the most memory that the side's process took above what its imports took; then
    ``pace`` is the unit of what a turn returns.
    ``needs_gpu``: skipped, and said so, where there is none.
    """

    name: str
    work: str
    unit: str
    ours: Side
    theirs: Side | None = None
    goal: Goal | None = None
    prepare: Callable[[Setting], None] = field(default=lambda setting: None)
    measures: Literal["turn", "memory"] = "turn"
    needs_gpu: bool = False
    turns: int | None = None
    pace: str = ""
    note: str = ""

    @property
    def less_is_better(self) -> bool:
        """Whether a turn's value is a time or a share, not a rate."""
        return self.measures == "turn" and not self.unit.endswith("/s")


def rate(step: Callable[[], float]) -> Callable[[float], float]:
    """Turns of a step that returns how many units it did: units per second.

    >>> rate(lambda: 3)(0.0) > 0
    True
    """

    def turn(least: float) -> float:
        done, start = 0.0, time.perf_counter()
        while True:
            done += step()
            spent = time.perf_counter() - start
            if spent >= least:
                return done / spent

    return turn


def seconds(work: Callable[[], object]) -> Callable[[float], float]:
    """Turns of a work that is done once: the seconds it took."""

    def turn(least: float) -> float:
        del least
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return turn


def joined(*families: tuple[Row, ...]) -> Mapping[str, Row]:
    """Rows by name; raises ``ValueError`` where two have one."""
    rows = [row for family in families for row in family]
    named = {row.name: row for row in rows}
    if len(named) < len(rows):
        raise ValueError("two rows have one name")
    return named
