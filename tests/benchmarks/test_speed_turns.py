"""A side in a process of its own, asked over its standard input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from speed_rows import ROWS
from speed_turns import Effort, Process, SideFailedError


def test_a_side_works_and_tells_its_memory(tmp_path: Path) -> None:
    row = ROWS["further-10000-prototypical"]
    process = Process(row, row.ours, 1, Effort(tmp_path, seconds=0.0, quick=True))
    assert process.turn(0.0) > 0
    (above_imports,) = process.ask("memory")["memory"]
    assert above_imports > 0
    assert {"torch", "medmeta"} <= process.ready["versions"].keys()
    assert process.ask("limit") == {"limit": None}
    assert process.end() == {}


def test_a_side_that_cannot_be_made_ready_says_why(tmp_path: Path) -> None:
    row = ROWS["adapt-call"]  # whose run has not been prepared
    with pytest.raises(SideFailedError, match="CheckpointError"):
        Process(row, row.ours, 1, dataclasses.replace(Effort(tmp_path), quick=True))
