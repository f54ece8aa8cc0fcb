"""Speed and memory beside other libraries: each row measured in turn, in one session.

    python benchmarks/speed.py                       every row that docs/speed.json lacks
    python benchmarks/speed.py --rows 'maml-*'       these rows, anew
    python benchmarks/speed.py --quick               whether all run at all; nothing is kept

Each side works in a process of its own, ours and theirs in turn; the figures are medians over the
turns. ``make bench-peers`` installs the libraries. Results go to ``docs/speed.json`` as soon as a
row is done, and from there into the table of ``docs/speed.md``.
"""

from __future__ import annotations

import argparse
import fnmatch
import math
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from machine_limits import describe_machine, load_average
from speed_rows import ROWS
from speed_rows.row import Row, Setting
from speed_table import known_rows, line_of, write_rows
from speed_turns import Effort, Measured, SideFailedError, measure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "speed.json"
PAGE = ROOT / "docs" / "speed.md"
# How far figures may differ that both sides must get alike: in one precision, and in two.
DISAGREE = {True: 5e-3, False: 0.1}


def result(row: Row, effort: Effort) -> dict[str, Any]:
    """Measure a row; the object that is kept."""
    held = _heading(row, effort)
    if row.needs_gpu and not torch.cuda.is_available():
        return {**held, "why": "no GPU at hand"}
    row.prepare(Setting(1, effort.folder, effort.quick, seed=effort.seed))
    try:
        mine, theirs, why = measure(row, effort)
    except SideFailedError as error:
        return {**held, "why": str(error)}
    ours_value = _value(row, mine)
    their_value = None if theirs is None else _value(row, theirs)
    both = [side for side in (mine, theirs) if side is not None]
    names = ("ours", "theirs")
    held |= {
        "ours": _short(ours_value),
        "theirs": None if their_value is None else _short(their_value),
        "ratio": None if not their_value else _short(ours_value / their_value),
        "met": None if row.goal is None else row.goal.met(ours_value, their_value),
        "limit_fraction": _limit_fraction(row, mine, ours_value),
        "limit": None if mine.limit is None else {k: _short(v) for k, v in mine.limit.items()},
        **_turns_of(row, dict(zip(names, both, strict=False))),
        "turns": len(mine.values),
        "threads": {n: side.threads for n, side in zip(names, both, strict=False)},
        "memory_mb": {n: side.memory_mb for n, side in zip(names, both, strict=False)},
        "settled_mb": {n: s.settled_mb for n, s in zip(names, both, strict=False) if s.settled_mb},
        "memory_parts_mb": {n: s.parts for n, s in zip(names, both, strict=False) if s.parts},
        "agreement": _agreement(row, mine, theirs),
        "versions": {**mine.versions, **({} if theirs is None else theirs.versions)},
        "beside": {**mine.beside, **({} if theirs is None else theirs.beside)},
        "why": why,
    }
    if theirs is not None and row.theirs is not None and row.theirs.peer is not None:
        held["peer"] = f"{row.theirs.called} {theirs.versions[row.theirs.peer]}"
    return held


def _heading(row: Row, effort: Effort) -> dict[str, Any]:
    """What is known before anything is measured."""
    their = row.theirs
    return {
        "name": row.name,
        "work": row.work,
        "unit": row.unit,
        "ours": None,
        "peer": their and their.called,
        "theirs": None,
        "ratio": None,
        "goal": row.goal and row.goal.value,
        "goal_at": row.goal and row.goal.at,
        "goal_of": row.goal and row.goal.of,
        "met": None,
        "limit_fraction": None,
        "spread": {},
        "threads": {},
        "versions": {},
        "precision": {"ours": row.ours.precision, "theirs": their and their.precision},
        "note": row.note,
        "command": f"python benchmarks/speed.py --rows {row.name}",
        "seed": effort.seed,
        "machine": describe_machine(),
        "python": sys.version.split()[0],
        "load_average_before": load_average(),
    }


def _value(row: Row, side: Measured) -> float:
    return side.memory_mb if row.measures == "memory" else side.median


def _turns_of(row: Row, sides: Mapping[str, Measured]) -> dict[str, Any]:
    """Quartiles over the turns; of a row of memory, how fast it went meanwhile."""
    if row.measures == "memory":
        pace = {name: _short(side.median) for name, side in sides.items()}
        return {"spread": {}, "pace": {"unit": row.pace, **pace}}
    return {"spread": {name: _quartiles(side.values) for name, side in sides.items()}}


def _limit_fraction(row: Row, side: Measured, value: float) -> float | None:
    """Time at the limit over time taken; None where there is nothing to count."""
    if side.limit is None or row.measures == "memory":
        return None
    least = side.limit["seconds_per_unit"]
    return _short(least / value if row.less_is_better else least * value)


def _quartiles(values: Sequence[float]) -> list[float]:
    """The first and the third."""
    if len(values) < 2:
        return [_short(v) for v in values] * 2
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return [_short(first), _short(third)]


def _agreement(row: Row, mine: Measured, theirs: Measured | None) -> float | None:
    """The largest relative difference of what both sides got from the same tasks.

    Of half precision the loss and the gradient's length, whose rounding averages out.
    """
    if row.theirs is None or theirs is None or mine.check is None or theirs.check is None:
        return None
    pairs = list(zip(mine.check, theirs.check, strict=True))
    if row.ours.precision != row.theirs.precision:
        pairs = pairs[:2]
    return _short(max(abs(a - b) / max(abs(a), 1e-12) for a, b in pairs))


def _short(value: float) -> float:
    """Four digits that count.

    >>> _short(123.456), _short(0.0012345)
    (123.5, 0.001234)
    """
    if value == 0 or not math.isfinite(value):
        return 0.0
    return round(value, 3 - math.floor(math.log10(abs(value))))


def chosen(patterns: str | None, known: Sequence[str]) -> list[str]:
    """Names that are asked for; without patterns those that are not known yet.

    Raises ``SystemExit`` for a pattern that names no row.
    """
    if patterns is None:
        return [name for name in ROWS if name not in known]
    names: list[str] = []
    for pattern in patterns.split(","):
        found = fnmatch.filter(ROWS, pattern.strip())
        if not found:
            raise SystemExit(f"no row is called {pattern!r}; --list names them.")
        names += [name for name in found if name not in names]
    return names


def main() -> None:
    """Measure rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", help="names, with commas; * stands for anything")
    parser.add_argument("--list", action="store_true", help="name the rows and leave")
    parser.add_argument("--quick", action="store_true", help="try them out; keep nothing")
    parser.add_argument("--turns", type=int, default=7, help="of each side (default 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, help="a folder for pictures, kept afterwards")
    parser.add_argument("--table", action="store_true", help="only write the page's table anew")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{row.name:40} {row.work}" for row in ROWS.values()))
        return
    if arguments.table:
        write_rows(RESULTS, PAGE, [], order=list(ROWS))
        return
    names = chosen(arguments.rows, [] if arguments.quick else known_rows(RESULTS))
    seconds = 0.0 if arguments.quick else arguments.seconds
    with tempfile.TemporaryDirectory(prefix="medmeta-speed-") as temporary:
        folder = arguments.scratch or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        effort = Effort(folder, seconds, arguments.turns, arguments.quick, arguments.seed)
        for name in names:
            held = result(ROWS[name], effort)
            print(line_of(held), flush=True)
            alike = held["precision"]["ours"] == held["precision"]["theirs"]
            if (held.get("agreement") or 0.0) > DISAGREE[alike]:
                print(f"  the sides do not agree: {held['agreement']}", flush=True)
            if not arguments.quick:
                write_rows(RESULTS, PAGE, [held], order=list(ROWS))


if __name__ == "__main__":
    main()
