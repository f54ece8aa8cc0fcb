"""Names of files stay where they are: what is left out is told by numbers, and soon."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from medmeta.data.index import Problem
from medmeta.data.left_out import left_out
from tests.episodes.tables import table


def test_a_folder_is_listed_once_however_much_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "class 0").mkdir()
    for number in range(30):
        (tmp_path / "class 0" / f"Roe-{number:02}.png").touch()
    problems = tuple(
        Problem("warning", f"class 0/Roe-{number:02}.png", "is damaged.", left_out=True)
        for number in range(0, 30, 2)
    )
    index = replace(table([0, 0, 1, 1]).index, root=tmp_path, problems=problems)
    listed: list[Path] = []
    plain = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or plain(folder))
    told = left_out([index])
    assert [row["where"] for row in told] == [f"class 0/{n}" for n in range(1, 31, 2)]
    assert len(listed) == 2  # the source's folder and the class's
