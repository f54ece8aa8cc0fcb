"""A source without a part of what is known of its patients: what that part is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medmeta.data.source import Source
from medmeta.input_parts import IMAGE, PRESENT, RECORD

GREY = 128  # the middle of the stored range: what encoders are given as zero


def parts_of(source: Source, modalities: Sequence[str]) -> tuple[str, ...]:
    """What can be withheld: ``image`` and ``record`` where there are both, and each modality.

    ``modalities`` are the names of the source's; one that no row has is no part.
    """
    found: list[str] = []
    if RECORD in source.beside and source.pixels.shape[1]:
        found += [IMAGE, RECORD]
    if PRESENT in source.beside:
        there = np.flatnonzero(source.beside[PRESENT].any(0)).tolist()
        found += [modalities[number] for number in there] if len(there) > 1 else []
    return tuple(found)


def without(source: Source, part: str, modalities: Sequence[str]) -> Source:
    """The same rows, of which one part is not known.

    Images become one grey, records gaps, and a modality is marked as missing; rows are as many as
    before, those that have nothing left too.
    """
    if part == IMAGE:
        plain = np.full((1, 256), GREY, dtype=np.uint8)
        return replace(source, tables=plain, table_rows=np.zeros(len(source), dtype=np.int64))
    if part == RECORD:
        unknown = np.full_like(source.beside[RECORD], np.nan)
        return replace(source, beside={**source.beside, RECORD: unknown})
    there = source.beside[PRESENT].copy()
    there[:, list(modalities).index(part)] = 0.0
    return replace(source, beside={**source.beside, PRESENT: there})
