"""A report as one page of HTML: nothing is fetched, everything from the user is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from medmeta.app.report.cards import Thumbnails, card_groups, support_gallery
from medmeta.app.report.content import ReportContent
from medmeta.app.report.evaluations import evaluation_rows, matching_rows
from medmeta.app.report.figures import embedding_map, learning_curve, marker
from medmeta.app.report.numbers import NO_ANSWER, Share, answers_of, query_figures
from medmeta.app.report.shifts import shift_tables
from medmeta.errors import DataError
from medmeta.storage import write_bytes

TEMPLATES = Path(__file__).parent / "templates"
UNKNOWN = "–"
SPACE = "\u00a0"  # keeps a figure and its unit on one line


def render_report(content: ReportContent) -> str:
    """The whole page as HTML5; sections whose data are absent are left out.

    The same content gives the same page. Raises ``DataError`` where labels, probabilities and
    images do not belong together.
    """
    _check(content)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "probability": probability_text,
        "figure": figure,
        "counted": counted,
        "shortened": shortened,
        "share": share_text,
        "cell": cell_text,
        "marker": marker,
    }
    return environment.get_template("report.html.j2").render(**_context(content))


def write_report(path: Path, content: ReportContent) -> None:
    """Render and write the page, as a whole or not at all; raises ``StorageError``."""
    write_bytes(path, render_report(content).encode())


def percent(value: float, digits: int = 0) -> str:
    r"""A share in per cent.

    >>> percent(0.714)
    '71\xa0%'
    """
    return UNKNOWN if math.isnan(value) else f"{100 * value:.{digits}f}{SPACE}%"


def probability_text(value: float) -> str:
    r"""A probability in per cent, never rounded to certainty.

    >>> probability_text(0.997), probability_text(0.5)
    ('>99\xa0%', '50\xa0%')
    """
    if value > 0.99:
        return f">99{SPACE}%"
    return f"<1{SPACE}%" if value < 0.01 else percent(value)


def figure(value: float, digits: int = 2) -> str:
    """A number; a dash where it is not known."""
    return UNKNOWN if math.isnan(value) else f"{value:.{digits}f}"


def counted(n: int, word: str, plural: str = "") -> str:
    r"""A number with its noun.

    >>> counted(1, "class", "classes"), counted(1200, "image")
    ('1\xa0class', '1,200\xa0images')
    """
    return f"{n:,}{SPACE}{word if n == 1 else plural or word + 's'}"


def shortened(text: str, length: int = 26) -> str:
    """A long name cut for a narrow place."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def share_text(share: Share) -> str:
    r"""A share with its interval.

    >>> from medmeta.app.report.numbers import wilson
    >>> share_text(wilson(7, 10))
    '70\xa0% (40–89)'
    """
    if share.n == 0:
        return UNKNOWN
    return f"{percent(share.value)} ({100 * share.low:.0f}–{100 * share.high:.0f})"


def cell_text(value: Any) -> str:
    """Any value in a table's cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {cell_text(v)}" for k, v in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(cell_text(item) for item in value)
    return str(value)


def _check(content: ReportContent) -> None:
    n_classes = len(content.class_names)
    for name, part in (("support", content.support), ("query", content.query)):
        if part is None:
            continue
        lengths = {len(part.pixels), len(part.labels), len(part.names), len(part.embeddings)}
        if len(lengths) > 1:
            raise DataError(
                f"the report's {name} set has {sorted(lengths)} images, labels, names and "
                "embeddings; there must be one of each per image."
            )
        lowest = 0 if name == "support" else -1
        if len(part.labels) and not lowest <= part.labels.min() <= part.labels.max() < n_classes:
            raise DataError(
                f"the report's {name} labels run from {part.labels.min()} to {part.labels.max()}, "
                f"but there are {n_classes} class names; count classes from 0."
            )
    query = content.query
    if query is not None and query.probabilities.shape != (len(query.labels), n_classes):
        raise DataError(
            f"the report's probabilities have shape {query.probabilities.shape}; one row per query "
            f"image and one column per class make {(len(query.labels), n_classes)}."
        )


def _context(content: ReportContent) -> dict[str, Any]:
    """Everything the templates name."""
    thumbnails = Thumbnails()
    rows = evaluation_rows(content.evaluations)
    counts = _class_counts(content)
    shots = [row["support"] for row in counts] if content.support is not None else []
    expected, same_setting = matching_rows(
        rows, n_way=len(content.class_names), n_shot=min(shots, default=None)
    )
    group_tables, quality_tables = shift_tables(content.shifts)
    has_query = content.query is not None and len(content.query.labels) > 0
    context: dict[str, Any] = {
        "content": content,
        "counts": counts,
        "shots": shots,
        "n_query": len(content.query.labels) if content.query is not None else 0,
        "n_known": int((content.query.labels >= 0).sum()) if content.query is not None else 0,
        "figures": query_figures(content.query, content.class_names) if content.query else None,
        "rows": rows,
        "baseline_names": list(dict.fromkeys(name for row in rows for name in row.baselines)),
        "by_source": {
            name: [row for row in rows if row.source == name]
            for name in dict.fromkeys(row.source for row in rows)
        },
        "group_tables": group_tables,
        "quality_tables": quality_tables,
        "expected": expected,
        "same_setting": same_setting,
        "map": embedding_map(content),
        "gallery": support_gallery(content.support, content.class_names, thumbnails)
        if content.support is not None
        else [],
        "groups": card_groups(content, thumbnails) if has_query else [],
        "panels": learning_curve(content.curve),
        "source_columns": _columns(content.training_sources),
        "nan": math.nan,
    }
    return context | {"pictures": thumbnails.pictures}


def _class_counts(content: ReportContent) -> list[dict[str, Any]]:
    """Per class: labelled images, query images known to be of it, and answers that named it."""
    n_classes = len(content.class_names)

    def tally(labels: Any) -> list[int]:
        return [int(n) for n in np.bincount(labels[labels != NO_ANSWER], minlength=n_classes)]

    support = tally(content.support.labels) if content.support else [0] * n_classes
    query = tally(content.query.labels) if content.query else [0] * n_classes
    given = tally(answers_of(content.query)[0]) if content.query else [0] * n_classes
    return [
        {"name": name, "support": s, "query": q, "given": g}
        for name, s, q, g in zip(content.class_names, support, query, given, strict=True)
    ]


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """All keys of all rows, in the order they first appear, and whether they hold numbers only."""
    numbers = (int, float, type(None))
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: all(isinstance(row.get(key), numbers) for row in rows) for key in keys}
