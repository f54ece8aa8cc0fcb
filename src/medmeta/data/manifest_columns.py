"""A manifest's further columns, by which images can be grouped: device, sex, ward, anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medmeta.data.index import Column, Problem

MOST_COLUMNS, MOST_NAMES = 50, 1000


def further_columns(
    cells: Sequence[Mapping[str, str]], taken: Sequence[str]
) -> tuple[dict[str, Column], list[Problem]]:
    """The columns of rows' ``cells`` that are not ``taken``, and what is said of those left out.

    A column with nothing in it is none, and one in which nearly every row is different groups
    nothing.
    """
    names = [name for name in dict.fromkeys(n for row in cells for n in row) if name not in taken]
    found: dict[str, Column] = {}
    problems: list[Problem] = []
    if len(names) > MOST_COLUMNS:
        what = f"has {len(names)} columns; the first {MOST_COLUMNS} can be grouped by."
        problems.append(Problem("warning", "row 1", what))
    for name in names[:MOST_COLUMNS]:
        if not name:
            continue
        texts = [row.get(name) or None for row in cells]
        if len(set(texts)) > MOST_NAMES:
            what = (
                f"column {name} has more than {MOST_NAMES:,} different values: it groups nothing."
            )
            problems.append(Problem("warning", "row 1", what))
        elif any(texts):
            found[name] = Column.from_texts(texts)
    return found, problems
