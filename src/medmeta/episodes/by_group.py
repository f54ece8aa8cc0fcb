"""Tasks of one group of patients each: sources parted by columns such as sex and age band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medmeta.data.source import Source
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SamplingError


def by_group(
    sources: Sequence[Source], columns: Sequence[str], protocol: Protocol
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """A source for each group of each source, and what must be said of it.

    Groups are what images have in all ``columns``; images of which one is not known are left out,
    and so are groups that cannot give tasks of the ``protocol``. Raises ``SamplingError`` where
    none is left.
    """
    parts: list[Source] = []
    notes: list[str] = []
    for source in sources:
        found, small, unknown = _groups_of(source, columns, protocol)
        parts += found
        by = ", ".join(columns)
        notes.append(f"{source.name}: tasks are drawn within {len(found)} groups by {by}.")
        if small:
            notes.append(f"{source.name}: too small for such tasks are {', '.join(small)}.")
        if unknown:
            notes.append(f"{source.name}: {unknown} images without {by} are not used.")
    if not parts:
        raise SamplingError(
            f"--task-by {','.join(columns)}: no group is large enough for such tasks "
            f"({' '.join(notes)}). Name fewer columns, or ask for fewer shots and queries."
        )
    return tuple(parts), tuple(notes)


def _groups_of(
    source: Source, columns: Sequence[str], protocol: Protocol
) -> tuple[list[Source], list[str], int]:
    """The groups that can give tasks, the names of those that cannot, and images without one."""
    held = [source.index.column(name) for name in columns]
    codes = np.stack([column.codes for column in held], axis=1)
    known = (codes >= 0).all(axis=1)
    found, small = [], []
    for group in np.unique(codes[known], axis=0).tolist():
        rows = np.flatnonzero((codes == group).all(axis=1))
        named = zip(columns, held, group, strict=True)
        name = ", ".join(f"{column} {texts.names[code]}" for column, texts, code in named)
        part = source.take(rows)
        part = replace(part, index=replace(part.index, name=f"{source.name} ({name})"))
        fewest = (protocol.n_way[0], protocol.n_way[0])  # other groups may give the larger tasks
        asked = protocol.model_copy(update={"drop_small_classes": True, "n_way": fewest})
        try:
            TaskSampler([part], asked)
        except SamplingError:
            small.append(name)
            continue
        found.append(part)
    return found, small, int((~known).sum())
