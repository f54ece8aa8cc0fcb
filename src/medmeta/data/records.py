"""Patients' records: columns of a manifest as numbers that learners take."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medmeta.data.further_columns import is_personal
from medmeta.data.sentences import WIDEST, sentence_vectors, width_of
from medmeta.errors import DataError, SettingsError

MOST_CATEGORIES = 32
MOST_WORDS = 5
"""An entry of more words makes its column free text, however few differ."""
WORDS = 32
"""Numbers that a free text becomes: how often its words fall into each of so many bins."""
Kind = Literal["number", "category", "text"]
Texts = Mapping[str, Sequence[str | None]]
_WORD = re.compile(r"\w+", re.UNICODE)


class RecordColumn(BaseModel):
    """One column: a ``number``, a ``category`` of those listed, or a free ``text``.

    A text becomes ``width`` numbers: by the sentence encoder ``encoder``, or a bag of words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    name: str = Field(min_length=1, max_length=100)
    kind: Kind
    categories: tuple[str, ...] = Field(default=(), max_length=MOST_CATEGORIES)
    encoder: str = Field(default="", max_length=200)
    width: int = Field(default=WORDS, ge=1, le=WIDEST)

    @property
    def size(self) -> int:
        """How many numbers it becomes."""
        return {"number": 1, "category": len(self.categories), "text": self.width}[self.kind]

    def encode(self, texts: Sequence[str | None]) -> NDArray[np.float32]:
        """``(n, size)``; NaN where nothing is said, or a category is none of those listed.

        >>> RecordColumn(name="sex", kind="category", categories=("F", "M")).encode(["M", "F"])
        array([[0., 1.],
               [1., 0.]], dtype=float32)
        """
        rows = np.full((len(texts), self.size), np.nan, dtype=np.float32)
        if self.kind == "text" and self.encoder:
            known = [row for row, text in enumerate(texts) if text is not None]
            told = [text for text in texts if text is not None]
            rows[known] = sentence_vectors(self.encoder, told, width=self.width)
            return rows
        place = {name: i for i, name in enumerate(self.categories)}
        for row, text in enumerate(texts):
            if text is None:
                continue
            if self.kind == "number":
                rows[row] = _number(text)
            elif self.kind == "text":
                rows[row] = bag_of_words(text)
            elif text in place:
                rows[row] = 0.0
                rows[row, place[text]] = 1.0
        return rows


def refuse_personal(names: Sequence[str]) -> None:
    """Raise ``SettingsError`` for a column that says who the patient is."""
    for name in names:
        if is_personal(name):
            raise SettingsError(
                f"--record {name}: such a column tells who the patient is, and is not learned "
                "from; leave it out."
            )


class RecordSchema(BaseModel):
    """The columns of a record in their order; part of every protocol and saved predictor.

    >>> schema = RecordSchema.of(["age"], [{"age": ["61", None]}])
    >>> schema.encode({"age": ["61", None]}).tolist()
    [[61.0], [nan]]
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    columns: tuple[RecordColumn, ...] = Field(min_length=1, max_length=64)

    @classmethod
    def of(
        cls, names: Sequence[str], sources: Sequence[Texts], *, encoder: str = ""
    ) -> RecordSchema:
        """What these columns hold in some sources together.

        Numbers where all entries are; else categories where there are few and short ones, else
        free text, which ``encoder`` (a permitted one of sentences) makes vectors of. Raises
        ``DataError`` for a column that no source has an entry in, ``SettingsError`` for one that
        says who the patient is, or for an encoder where no column is free text.
        """
        columns = []
        refuse_personal(names)
        for name in names:
            entries = [t for source in sources for t in source.get(name, ()) if t is not None]
            if not entries:
                raise DataError(
                    f"--record {name}: no source has an entry in a column of that name; check the "
                    "name, or leave it out."
                )
            columns.append(_column(name, entries))
        if encoder:
            columns = _encoded_by(encoder, columns)
        return cls(columns=tuple(columns))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the sentence encoders that it needs."""
        return tuple(dict.fromkeys(c.encoder for c in self.columns if c.encoder))

    @property
    def size(self) -> int:
        """Numbers of a record."""
        return sum(column.size for column in self.columns)

    def encode(self, texts: Texts) -> NDArray[np.float32]:
        """``(n, size)``; a column that is not there is not known of anyone."""
        n = max((len(entries) for entries in texts.values()), default=0)
        parts = [c.encode(texts.get(c.name) or [None] * n) for c in self.columns]
        return np.concatenate(parts, axis=1)

    def remarks(self, texts: Texts) -> list[str]:
        """What must be said of the records of one source.

        Raises ``DataError`` where no column has an entry.
        """
        found, empty = [], []
        for column in self.columns:
            known = [text for text in texts.get(column.name) or () if text is not None]
            if not known:
                empty.append(column.name)
            unseen = sorted({t for t in known if _misfits(column, t)})
            if unseen:
                shown = ", ".join(unseen[:5]) + (" and more" if len(unseen) > 5 else "")
                what = "no number" if column.kind == "number" else "none that was learned from"
                found.append(f"{column.name}: {shown} is {what}, and counts as not known.")
        if len(empty) == len(self.columns):
            raise DataError(
                f"not one patient has an entry in {', '.join(empty)}: there is no record to learn "
                "from; check the columns' names."
            )
        if empty:
            found.append(f"{', '.join(empty)}: not known of any patient.")
        return found

    def without_example(
        self, support: NDArray[np.float32], asked: NDArray[np.float32]
    ) -> list[str]:
        """What is known of those asked about, and of no labelled patient.

        Both ``(n, size)``, as encoded. Standardising takes such a thing for not known.
        """
        found, first = [], 0
        for column in self.columns:
            part = slice(first, first + column.size)
            first += column.size
            learned, told = (~np.isnan(rows[:, part]).all(1) for rows in (support, asked))
            if told.any() and not learned.any():
                found.append(f"{column.name}: not known of any labelled patient, and not used.")
            elif column.kind == "category":
                there = (support[learned, part] > 0).any(0)
                wanted = np.flatnonzero((asked[told, part] > 0).any(0) & ~there)
                names = [column.categories[place] for place in wanted.tolist()]
                if names:
                    which = ", ".join(names)
                    found.append(
                        f"{column.name}: no labelled patient has {which}, so that it says nothing "
                        "of those asked about."
                    )
        return found


def bag_of_words(text: str) -> NDArray[np.float32]:
    """A text as the counts of its words in ``WORDS`` bins; the same word falls into the same.

    (The hashing trick, Weinberger et al. 2009, without signs. The root of each count.)

    >>> bool((bag_of_words("No fever. Cough!") == bag_of_words("cough, no FEVER")).all())
    True
    """
    counts = np.zeros(WORDS, dtype=np.float32)
    for word in _WORD.findall(text.lower()):
        counts[hashlib.blake2b(word.encode(), digest_size=2).digest()[0] % WORDS] += 1
    return np.sqrt(counts)


def _column(name: str, entries: Sequence[str]) -> RecordColumn:
    if all(not np.isnan(_number(text)) for text in entries):
        return RecordColumn(name=name, kind="number")
    different = sorted(set(entries))
    few = len(different) <= MOST_CATEGORIES and len(different) < max(3, len(entries))
    # Categories are kept by name; a sentence may say more of a person than that.
    if few and all(len(text.split()) <= MOST_WORDS for text in different):
        return RecordColumn(name=name, kind="category", categories=tuple(different))
    return RecordColumn(name=name, kind="text")


def _encoded_by(encoder: str, columns: Sequence[RecordColumn]) -> list[RecordColumn]:
    """The columns, of which those of free text go through a sentence encoder."""
    if not any(column.kind == "text" for column in columns):
        kinds = ", ".join(f"{column.name} ({column.kind})" for column in columns)
        raise SettingsError(
            f"--text-encoder {encoder}: no column of the record is free text: {kinds}; leave it "
            "out, or name a column of texts with --record."
        )
    update = {"encoder": encoder, "width": width_of(encoder)}
    return [c.model_copy(update=update) if c.kind == "text" else c for c in columns]


def _number(text: str) -> float:
    """A finite number, or NaN."""
    try:
        value = float(text.replace("_", "?"))
    except ValueError:
        return float("nan")
    return value if abs(value) <= float(np.finfo(np.float32).max) else float("nan")


def _misfits(column: RecordColumn, text: str) -> bool:
    if column.kind == "number":
        return bool(np.isnan(_number(text)))
    return column.kind == "category" and text not in column.categories
