"""Growth curves drawn with both axes logarithmic, as an SVG that is plain text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

# Okabe and Ito's colours for all kinds of colour vision, without those that white swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#222222", "#56b4e9")
WIDTH, HEIGHT = 380, 256
LEFT, RIGHT, TOP, BOTTOM = 56, 22, 48, 40
COLUMNS = 2
LETTERS = 50  # of a title in one line


def exponent(points: Sequence[Sequence[float]]) -> float:
    """The slope of a straight line through the logarithms: 1 where cost grows as the size.

    >>> round(exponent([(1, 3.0), (10, 30.0), (100, 300.0)]), 6)
    1.0
    """
    sizes, costs = np.log(np.array(points, dtype=np.float64)).T
    return float(np.polyfit(sizes, costs, 1)[0])


def picture(curves: Sequence[Mapping[str, Any]]) -> str:
    """A panel for each curve: ``work``, ``axis``, ``unit``, ``points``, ``exponent``."""
    rows = math.ceil(len(curves) / COLUMNS)
    width, height = WIDTH * COLUMNS, HEIGHT * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="11" role="img">',
        "<title>How cost grows, both axes logarithmic</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, curve in enumerate(curves):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<g transform="translate({x},{y})">{_panel(curve, colour)}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(curve: Mapping[str, Any], colour: str) -> str:
    points = curve["points"]
    x_axis = _Axis([p[0] for p in points], LEFT, WIDTH - RIGHT)
    y_axis = _Axis([p[1] for p in points], HEIGHT - BOTTOM, TOP)
    places = [(x_axis.place(n), y_axis.place(cost)) for n, cost in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return "".join(
        [
            *_title(curve["work"]),
            *(_x_tick(x_axis, value) for value in x_axis.ticks),
            *(_y_tick(y_axis, value) for value in y_axis.ticks),
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            *dots,
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">'
            f"{escape(curve['axis'])}</text>",
            f'<text x="{LEFT}" y="{TOP - 6}" fill="#555555">{escape(curve["unit"])}</text>',
            f'<text x="{WIDTH - RIGHT}" y="{TOP - 6}" fill="#555555" text-anchor="end">'
            f"exponent {curve['exponent']:.2f}</text>",
        ]
    )


def _title(work: str) -> list[str]:
    """In lines that fit the panel."""
    return [
        f'<text x="{LEFT}" y="{14 + 13 * number}" font-weight="600" font-size="10">'
        f"{escape(line)}</text>"
        for number, line in enumerate(textwrap.wrap(work, LETTERS))
    ]


class _Axis:
    """A logarithmic axis from the decade below the values to that above."""

    def __init__(self, values: Sequence[float], start: float, stop: float) -> None:
        self.low = math.floor(math.log10(min(values)) + 1e-9)
        self.high = max(math.ceil(math.log10(max(values)) - 1e-9), self.low + 1)
        self.start, self.stop = start, stop
        self.ticks = [10.0**k for k in range(self.low, self.high + 1)]

    def place(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def _x_tick(axis: _Axis, value: float) -> str:
    x, foot = axis.place(value), HEIGHT - BOTTOM
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{foot}" stroke="#dddddd"/>'
        f'<text x="{x:.1f}" y="{foot + 14}" text-anchor="middle">{_text(value)}</text>'
    )


def _y_tick(axis: _Axis, value: float) -> str:
    y = axis.place(value)
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_text(value)}</text>'
    )


def _text(value: float) -> str:
    """A power of ten: plain where it is short.

    >>> _text(100.0), _text(1e7), _text(1e-4)
    ('100', '10⁷', '10⁻⁴')
    """
    power = round(math.log10(value))
    if -2 <= power <= 3:
        return f"{value:g}"
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
