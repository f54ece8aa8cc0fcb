"""What a source goes without, told so that no name of a file is kept: it may name a person."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medmeta.data.folder import is_litter
from medmeta.data.index import Problem, SourceIndex

_ROW = re.compile(r"row \d+$")
Numbers = dict[Path, dict[str, int]]
HOW_NAMED = (
    "files are counted by name in their folder, from 1, and so are folders below a class: "
    "'benign/2/3' is the third file of the second folder of the class benign"
)


def left_out(indexes: Iterable[SourceIndex]) -> list[dict[str, Any]]:
    """What was left out of sources and why, each once, as JSON that may be kept."""
    found: dict[tuple[str, Problem], SourceIndex] = {}
    for index in indexes:
        for problem in index.problems:
            if problem.left_out:
                found.setdefault((index.name, problem), index)
    numbers: Numbers = {}
    return [
        {"source": name, "where": place(problem, index, numbers), "why": problem.what}
        for (name, problem), index in found.items()
    ]


def place(problem: Problem, index: SourceIndex, numbers: Numbers | None = None) -> str:
    """Where a problem lies: a manifest's row, a class, or a file by its number in its folder.

    ``numbers`` remembers folders that were listed, for further problems.
    """
    known: Numbers = {} if numbers is None else numbers
    where = problem.where
    if _ROW.match(where) or where.rstrip("/") in index.class_names or where == "cache":
        return where
    parts, folder = where.split("/"), index.root
    told: list[str] = []
    for part in parts:
        number = None if folder is None else _numbered(folder, known).get(part)
        if number is None:
            return "/".join([*told, "a file"])
        told.append(part if not told and part in index.class_names else str(number))
        folder = folder / part if folder is not None else None
    return "/".join(told)


def remarks(index: SourceIndex) -> list[str]:
    """What is worth saying of a source, without its files' names: how many are alike."""
    counts = Counter(
        (problem.where if _ROW.match(problem.where) else "", problem.what)
        for problem in index.problems
    )
    return [
        f"{where or ('1 file or class' if n == 1 else f'{n} files or classes')}: {what}"
        for (where, what), n in counts.items()
    ]


def _numbered(folder: Path, numbers: Numbers) -> dict[str, int]:
    """The number of each name in a folder, which is listed once."""
    if folder not in numbers:
        try:
            names = sorted(n for n in os.listdir(folder) if not is_litter(n))
        except OSError:
            names = []
        numbers[folder] = {name: number for number, name in enumerate(names, start=1)}
    return numbers[folder]
