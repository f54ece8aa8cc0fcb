"""A table of answers that ``medmeta predict`` wrote, as the content of a report."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.app.report.building import Asking
from medmeta.app.report.content import QueryContent, ReportContent
from medmeta.app.report.words import Words
from medmeta.data.preprocess import Preprocessing, prepare
from medmeta.data.readers import read_image
from medmeta.errors import ManifestError, MedmetaError
from medmeta.version import __version__

PROBABILITY = "probability_"
MOST_ROWS = 5_000
SIDE = 96
_ROUNDED = 2e-6  # probabilities are written with six digits


@dataclass(frozen=True)
class AnswerTable:
    """The rows of a table that have an answer.

    ``probabilities`` ``(Q, K)`` are NaN where a cell is no number from 0 to 1 or a row does not
    sum to 1; ``unread`` counts the rows that say why their image could not be read.
    """

    class_names: tuple[str, ...]
    paths: tuple[Path, ...]
    probabilities: NDArray[np.float64]
    unread: int
    sha256: str


def read_answers(path: Path) -> AnswerTable:
    """Read a table of answers; raises ``ManifestError`` that names the row and the column."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, csv.Error) as error:
        raise ManifestError(f"{path} cannot be read as a table ({error}).") from None
    header = rows[0] if rows else []
    columns = [i for i, name in enumerate(header) if name.startswith(PROBABILITY)]
    if "path" not in header or "predicted" not in header or len(columns) < 2:
        raise ManifestError(
            f"{path} is no table of answers about classes: it needs the columns path, predicted "
            f"and {PROBABILITY}… of two classes or more, as 'medmeta predict --out' writes them."
        )
    if len(rows) > MOST_ROWS + 1:
        raise ManifestError(f"{path} has {len(rows) - 1:,} rows; a report takes {MOST_ROWS:,}.")
    problem = header.index("problem") if "problem" in header else None
    paths, probabilities, answers, unread = [], [], [], 0
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ManifestError(
                f"{path}, row {number}: {len(row)} cells, and the header has {len(header)}."
            )
        if problem is not None and row[problem]:
            unread += 1
            continue
        paths.append(Path(row[header.index("path")]))
        probabilities.append([_probability(row[i]) for i in columns])
        answers.append((number, row[header.index("predicted")]))
    if not paths:
        raise ManifestError(f"{path} has no row with an answer; ask about images first.")
    names = tuple(header[i].removeprefix(PROBABILITY) for i in columns)
    found = np.array(probabilities, dtype=np.float64)
    found[np.abs(found.sum(1) - 1) > 1e-3] = np.nan  # a NaN makes the whole row one
    found[~np.isfinite(found).all(1)] = np.nan
    for place, (number, answer) in enumerate(answers):
        _check_likeliest(found[place], names, answer, where=f"{path}, row {number}")
    return AnswerTable(names, tuple(paths), found, unread, hashlib.sha256(data).hexdigest())


def table_report(table: AnswerTable, asking: Asking) -> ReportContent:
    """The content of a report on a table of answers.

    Images are shown where they still lie at their paths and are plain pictures; the truth is the
    folder's name where that is a class. No path is kept.
    """
    words = Words(asking.language)
    pixels, unshown = _pictures(table.paths)
    code = {name: i for i, name in enumerate(table.class_names)}
    n, bad = len(table.paths), int(np.isnan(table.probabilities).any(1).sum())
    notes = [words.plain("note.table_values")]
    notes += [words.plain("note.table_problems", n=table.unread)] if table.unread else []
    notes += [words.plain("note.table_unshown", n=unshown)] if unshown else []
    query = QueryContent(
        pixels=pixels,
        labels=np.array([code.get(path.parent.name, -1) for path in table.paths], dtype=np.int64),
        names=tuple(words.plain("answers.name", n=i + 1) for i in range(n)),
        probabilities=table.probabilities,
        embeddings=np.zeros((n, 1), dtype=np.float32),
        nearest=np.zeros((n, 0), dtype=np.int64),
        similarity=np.zeros((n, 0)),
    )
    return ReportContent(
        title=asking.title or words.plain("page.title_table"),
        learner="",
        class_names=table.class_names,
        query=query,
        data_notes=notes,
        warnings=[words.plain("note.table_bad", n=bad)] if bad else [],
        provenance={
            words.plain("provenance.command"): asking.command,
            words.plain("provenance.medmeta"): __version__,
            words.plain("provenance.table"): table.sha256,
        },
        kind="table",
        language=asking.language,
    )


def _check_likeliest(
    told: NDArray[np.float64], names: Sequence[str], answer: str, *, where: str
) -> None:
    """See that the answer is the likeliest class; rounded probabilities may have made it a tie.

    The tie is then broken in ``told`` ``(K,)`` itself. Raises ``ManifestError``.
    """
    if answer not in names or not np.isfinite(told).all():
        return
    place, likeliest = names.index(answer), int(told.argmax())
    if told[likeliest] - told[place] > _ROUNDED:
        raise ManifestError(
            f"{where}: predicted is {answer}, but {names[likeliest]} has the larger probability; "
            "write the table again with 'medmeta predict --out'."
        )
    if place != likeliest:
        told[place] = np.nextafter(told[likeliest], 2.0)


def _probability(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if 0 <= value <= 1 else math.nan


def _pictures(paths: tuple[Path, ...]) -> tuple[NDArray[np.uint8], int]:
    """Small pictures ``(Q, 3, H, W)`` of files, grey where one cannot be shown; how many cannot."""
    preparing = Preprocessing(size=SIDE, channels=3)
    shown = np.full((len(paths), 3, SIDE, SIDE), 236, dtype=np.uint8)
    missing = 0
    for i, path in enumerate(paths):
        try:
            shown[i] = prepare(read_image(path).pixels, preparing)
        except (MedmetaError, OSError):
            missing += 1
    return shown, missing
