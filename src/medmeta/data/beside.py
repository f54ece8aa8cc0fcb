"""What stands beside a source's pictures: records, and which modalities are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Problem, SourceIndex
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.errors import DataError
from medmeta.input_parts import PRESENT, RECORD


def with_beside(source: Source, preprocessing: Preprocessing) -> Source:
    """The source with the arrays that stand beside its pictures, and what must be said of them."""
    beside: dict[str, NDArray[np.float32]] = {}
    said: list[str] = []
    if preprocessing.modalities:
        beside[PRESENT] = present(source.index, preprocessing.modalities)
        said += _missing(beside[PRESENT], preprocessing.modalities)
    if preprocessing.has_record:
        beside[RECORD], more = _records(source.index, preprocessing)
        said += more
    if not beside:
        return source
    return replace(source, index=_saying(source.index, said), beside=beside)


def records_alone(index: SourceIndex, preprocessing: Preprocessing) -> Source:
    """A source without pictures; of a few numbers, equal ones are no copies of one patient."""
    records, said = _records(index, preprocessing)
    n = len(index)
    pixels = np.zeros((n, *preprocessing.shape), dtype=np.uint8)
    hashes = np.arange(1, n + 1, dtype=np.uint64)
    rows = np.arange(n, dtype=np.int64)
    return Source(_saying(index, said), pixels, rows, hashes, beside={RECORD: records})


def check_modalities(sources: Sequence[Source], modalities: Sequence[str]) -> None:
    """Raise ``DataError`` for a modality that no source to train on has a file of."""
    if not modalities or not all(PRESENT in source.beside for source in sources):
        return
    somewhere = np.max([source.beside[PRESENT].max(0) for source in sources], axis=0)
    for name, there in zip(modalities, somewhere.tolist(), strict=True):
        if not there:
            raise DataError(
                f"--modalities: no row of any source has a file of {name}; check the column, or "
                "leave it out."
            )


def present(index: SourceIndex, modalities: Sequence[str]) -> NDArray[np.float32]:
    """``(n, M)``: 1 where a row has a file of a modality, else 0."""
    there = [[part is not None for part in row] for row in index.parts]
    return np.array(there, dtype=np.float32).reshape(len(index), len(modalities))


def record_texts(index: SourceIndex, names: Sequence[str]) -> Mapping[str, Sequence[str | None]]:
    """The entries of columns: of a manifest's own, or of what headers say (sex, age band)."""
    columns = {name: index.column(name) for name in names}
    return {
        name: index.texts.get(name) or column.texts()
        for name, column in columns.items()
        if name in index.texts or (column.codes >= 0).any()
    }


def _records(
    index: SourceIndex, preprocessing: Preprocessing
) -> tuple[NDArray[np.float32], list[str]]:
    schema = preprocessing.record
    assert schema is not None
    texts = record_texts(index, schema.names)
    try:
        said = schema.remarks(texts)
    except DataError as error:
        raise DataError(f"{index.name}: {error}") from None
    return schema.encode({**dict.fromkeys(schema.names, [None] * len(index)), **texts}), said


def _missing(there: NDArray[np.float32], modalities: Sequence[str]) -> list[str]:
    """How many rows go without a modality."""
    counts = (there == 0).sum(0).astype(int).tolist()
    n = len(there)
    told = [f"{m} ({c})" for m, c in zip(modalities, counts, strict=True) if c]
    if not told:
        return []
    return [f"of its {n} rows some lack a modality, which is masked: {', '.join(told)}."]


def _saying(index: SourceIndex, said: Sequence[str]) -> SourceIndex:
    problems = [Problem("warning", "its rows", text) for text in said]
    return replace(index, problems=(*index.problems, *problems))
