"""How a report writes figures, names and cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from medmeta.app.report.numbers import Share
from medmeta.app.report.words import SPACE

UNKNOWN = "–"
MOST_LISTED = 20


def percent(value: float | None, digits: int = 0) -> str:
    r"""A share in per cent.

    >>> percent(0.714)
    '71\xa0%'
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"{round(100 * value, digits) + 0.0:.{digits}f}{SPACE}%"  # no zero with a sign


def probability_text(value: float) -> str:
    r"""A probability in per cent, never rounded to certainty.

    >>> probability_text(0.997), probability_text(0.5)
    ('>99\xa0%', '50\xa0%')
    """
    if value > 0.99:
        return f">99{SPACE}%"
    return f"<1{SPACE}%" if value < 0.01 else percent(value)


def figure(value: float | None, digits: int = 2) -> str:
    """A number; a dash where it is not known."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value:.{digits}f}"


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
    """Any value in a table's cell; of a long list the first few, and how many more there are.

    >>> cell_text([0.5, None, "a"]), cell_text(range(100)).endswith("18, 19, … (+80)")
    ('0.5, –, a', True)
    """
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
        items = [cell_text(item) for item in value]
        more = len(items) - MOST_LISTED
        return ", ".join(items) if more <= 1 else f"{', '.join(items[:MOST_LISTED])}, … (+{more})"
    return str(value)


def breakable(text: str) -> Markup:
    """A name that a narrow place may break where it has an underscore.

    >>> str(breakable("viral_<b>"))
    'viral_<wbr>&lt;b&gt;'
    """
    return Markup("_<wbr>").join(text.split("_"))


def interval_text(low: float | None, high: float | None) -> str:
    """Both ends of an interval in per cent, or a dash.

    >>> interval_text(0.41, 0.9)
    '41–90'
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return UNKNOWN
    return f"{100 * low:.0f}–{100 * high:.0f}"
