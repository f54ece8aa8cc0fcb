from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from growth import table
from growth_curves import CURVES
from growth_picture import exponent, picture
from growth_timing import timed

CURVE = {
    "work": "a <work>",
    "axis": "images",
    "unit": "s",
    "points": [[10, 0.01], [100, 0.1], [1000, 1.0]],
    "exponent": 1.0,
}


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law(power: float) -> None:
    points = [(n, 3 * n**power) for n in (1, 10, 100, 1000)]
    assert exponent(points) == pytest.approx(power, abs=1e-9)


def test_a_power_law_is_a_straight_line_in_the_picture() -> None:
    root = ElementTree.fromstring(picture([CURVE]))
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    places = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert x2 > x0
    assert y2 < y0  # upwards


def test_the_table_names_each_point() -> None:
    assert "| a <work> | images | 10: 0.01 s, 100: 0.1 s, 1,000: 1 s | 1.00 |" in table([CURVE])


def test_curves_have_names_of_their_own_and_rising_sizes() -> None:
    assert len({curve.name for curve in CURVES}) == len(CURVES)
    for curve in CURVES:
        assert list(curve.sizes) == sorted(set(curve.sizes))
        assert len(curve.sizes) >= 2


def test_a_short_work_is_repeated() -> None:
    calls: list[None] = []
    spent = timed(lambda: calls.append(None), least=0.01, repeats=2)
    assert len(calls) > 3
    assert 0 < spent < 0.01
