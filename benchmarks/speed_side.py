"""One side of a row in a process of its own; ``speed_turns.py`` starts it and tells it what to do.

    python benchmarks/speed_side.py '{"row": ..., "side": "ours", "threads": 2, ...}'

It makes itself ready, says so, and then answers each line of its standard input with a line of
JSON: ``turn SECONDS``, ``memory``, ``limit``, ``end``.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

import peers
from machine_limits import limit_of
from process_memory import PeakParts, forget_peak, resident_now, resident_peak
from speed_rows import ROWS
from speed_rows.row import Job, Row, Setting, Side


@contextmanager
def answers() -> Iterator[IO[str]]:
    """Where the answers go; what libraries print goes to the standard error instead."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        yield out


def told(out: IO[str], **answer: Any) -> None:
    """One line."""
    out.write(json.dumps(answer) + "\n")
    out.flush()


def versions(side: Side) -> dict[str, str]:
    """Of what does the work here."""
    from importlib.metadata import version

    names = ["medmeta", "torch", "numpy"]
    found = {name: version(name) for name in names}
    if side.peer is not None:
        found[side.peer] = peers.version_of(side.peer)
    return found


def serve(
    job: Job, row: Row, side: Side, setting: Setting, out: IO[str], bases: Sequence[float]
) -> None:
    """Answer until the end; ``bases`` are what was resident before the work began."""
    parts = PeakParts() if row.measures == "memory" else None
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "turn":
            told(out, value=job.turn(float(rest[0])))
        elif word == "memory":
            above = [round(resident_peak() - base, 1) for base in bases]
            told(out, memory=above, parts=parts.close() if parts is not None else {})
        elif word == "limit":
            half = side.precision == "bfloat16"
            plain = job.plain
            told(out, limit=plain and limit_of(plain, half=half, device=setting.device))
        elif word == "end":
            told(out, beside=job.beside())
            return


def main() -> None:
    """Make the side that the argument names ready, and serve."""
    asked = json.loads(sys.argv[1])
    row = ROWS[asked["row"]]
    side = row.ours if asked["side"] == "ours" else row.theirs
    assert side is not None
    warnings.simplefilter("ignore")  # of old libraries on new ones
    random.seed(asked["seed"])  # which the peers draw their tasks with
    torch.manual_seed(asked["seed"])
    torch.set_num_threads(asked["threads"])
    device = "cuda" if row.needs_gpu and torch.cuda.is_available() else "cpu"
    bases: list[float] = []  # resident after the imports, and once settled
    setting = Setting(
        asked["threads"],
        Path(asked["folder"]),
        asked["quick"],
        device,
        asked["seed"],
        lambda: bases.append(resident_now()),
    )
    with answers() as out:
        try:
            found = versions(side)
            # Optimisers import this late (70 MB), some libraries early: an import on both sides.
            importlib.import_module("torch._dynamo")
            forget_peak()
            bases.append(resident_now())
            job = side.make(setting)
            check = job.check() if job.check is not None else None
        except Exception as error:  # whatever a library does here, the row says it
            told(out, cannot=f"{type(error).__name__}: {str(error).splitlines()[0]}")
            return
        told(out, ready=True, versions=found, check=check)
        serve(job, row, side, setting, out, bases)


if __name__ == "__main__":
    main()
