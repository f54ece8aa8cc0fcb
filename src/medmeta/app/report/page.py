"""A report as one page of HTML: nothing is fetched, everything from the user is escaped."""

from __future__ import annotations

from pathlib import Path

import jinja2

from medmeta.app.report.content import ReportContent
from medmeta.app.report.context import page_context
from medmeta.app.report.figures import marker
from medmeta.app.report.formats import (
    breakable,
    cell_text,
    figure,
    interval_text,
    percent,
    probability_text,
    share_text,
    shortened,
)
from medmeta.app.report.words import Words
from medmeta.errors import DataError
from medmeta.storage import write_bytes

TEMPLATES = Path(__file__).parent / "templates"


def render_report(content: ReportContent) -> str:
    """The whole page as HTML5; sections whose data are absent are left out.

    The same content gives the same page. Raises ``DataError`` where labels, probabilities and
    images do not belong together, ``UnknownNameError`` for a language without a catalogue.
    """
    words = Words(content.language)
    check_content(content)
    environment = page_environment(words)
    return environment.get_template("report.html.j2").render(**page_context(content, words))


def page_environment(words: Words) -> jinja2.Environment:
    """What turns templates into pages: all that is put in is escaped, and texts are ``words``."""
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
        "interval": interval_text,
        "counted": words.counted,
        "said": words.said,
        "shortened": shortened,
        "breakable": breakable,
        "share": share_text,
        "cell": cell_text,
        "marker": marker,
    }
    environment.globals |= {"t": words}
    return environment


def write_report(path: Path, content: ReportContent) -> None:
    """Render and write the page, as a whole or not at all; raises ``StorageError``."""
    write_bytes(path, render_report(content).encode())


def check_content(content: ReportContent) -> None:
    """Raise ``DataError`` where the parts of a report's content do not belong together."""
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
    if query is None:
        return
    wanted = (len(query.labels), n_classes)
    if query.probabilities.shape != wanted:
        raise DataError(
            f"the report's probabilities have shape {query.probabilities.shape}; one row per query "
            f"image and one column per class make {wanted}."
        )
    if query.sets is not None and query.sets.shape != wanted:
        raise DataError(
            f"the report's sets have shape {query.sets.shape}; one row per query image and one "
            f"column per class make {wanted}."
        )
    if query.novelty is not None and len(query.novelty) != wanted[0]:
        raise DataError(
            f"the report has {len(query.novelty)} reasons of novelty for {wanted[0]} query images; "
            "give one of each, empty where there is none."
        )
