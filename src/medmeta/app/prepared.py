"""Opened sources as a request wants them: one split of each, grey levels brought together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medmeta.data.source import Source
from medmeta.data.splits import of_split
from medmeta.data.standardise import Levels, Range, left_as_they_are, standardised


@dataclass(frozen=True)
class Prepared:
    """The sources to use, what to say of it, and the grey levels that they were brought to."""

    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()
    levels: Levels | None = None

    @property
    def fact(self) -> dict[str, Any] | None:
        """What a run's card says of the grey levels; the names of sites are not in it."""
        if self.levels is None:
            return None
        return {"column": self.levels.column, "reference": list(self.levels.reference)}


def prepared(
    sources: Sequence[Source], *, split: str, standardise: str, reference: Range | None = None
) -> Prepared:
    """The split of each source, and its grey levels brought together by a column, where asked.

    Raises ``DataError`` for a split or a column that a source does not have.
    """
    notes: list[str] = []
    chosen = list(sources)
    if split:
        chosen = []
        for source in sources:
            part, leak = of_split(source, split)
            chosen.append(part)
            of = f"{len(part)} of {len(source)} images"
            notes.append(f"{source.name}: only its split {split} is used, {of}.")
            notes += [f"{source.name}: {leak}"] if leak else []
    if not standardise:
        return Prepared(tuple(chosen), tuple(notes))
    chosen, levels = standardised(chosen, standardise, reference=reference)
    low, high = levels.reference
    notes.append(
        f"Grey levels were brought together by {standardise}, to the range {low:.0f} to {high:.0f}."
    )
    for source in chosen:
        if n := left_as_they_are(source, standardise):
            notes.append(f"{source.name}: {n} images without {standardise} keep their grey levels.")
    return Prepared(tuple(chosen), tuple(notes), levels)
