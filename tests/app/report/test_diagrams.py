from __future__ import annotations

import numpy as np
import pytest

from medmeta.app.report.cards import overlaid
from medmeta.app.report.diagrams import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    benefit_curves,
    confidence_bins,
    reliability_dots,
)
from medmeta.trust.results import Bin, NetBenefit


def test_dots_lie_where_confidence_and_share_say() -> None:
    (dot,) = reliability_dots([Bin(0.5, 0.6, 4, 0.5, 4), Bin(0.6, 0.7, 0, None, 0)])
    assert (dot.x, dot.y, dot.count) == ((LEFT + RIGHT) / 2, TOP, 4)
    assert dot.low > dot.y == dot.high  # down the page is less


def test_bins_count_every_answer_once_and_no_missing_ones() -> None:
    confidence = np.array([0.0, 0.1, 0.3, 1.0, np.nan])
    bins = confidence_bins(confidence, np.array([True, True, False, True, True]))
    assert [(round(b.low, 1), b.count, b.right) for b in bins if b.count] == [
        (0.0, 1, 1),
        (0.1, 1, 1),
        (0.3, 1, 0),
        (0.9, 1, 1),
    ]
    assert bins[-1].confidence == 1.0


def test_decision_curves_by_hand() -> None:
    points = [NetBenefit("ill", t, 0.2, v) for t, v in ((0.0, 0.2), (0.5, -9.0), (1.0, 0.0))]
    (curve,) = benefit_curves([*points, NetBenefit("well", 0.5, 0.1, 0.1)])
    assert curve.positive == "ill"
    lowest = [float(pair.split(",")[1]) for pair in curve.treat_all.split()]
    assert lowest[1] == BOTTOM  # cut off
    assert lowest[2] == curve.zero
    heights = {pair.split(",")[1] for pair in curve.predictor.split()}
    assert len(heights) == 1
    assert [float(pair.split(",")[0]) for pair in curve.predictor.split()] == [
        LEFT,
        (LEFT + RIGHT) / 2,
        RIGHT,
    ]


def test_an_overlay_by_hand() -> None:
    pixels = np.full((1, 1, 3), 100, dtype=np.uint8)
    found = overlaid(pixels, np.array([[2.0, 0.0, -1.0]], dtype=np.float32))
    assert found.shape == (3, 1, 3)
    assert found[:, 0, 0].tolist() == [198, 108, 25]  # a quarter of 100, and orange
    assert found[:, 0, 1].tolist() == [100, 100, 100]
    assert found[0, 0, 2] == round(100 * (1 - 0.375))
    assert overlaid(pixels, np.zeros((1, 3), dtype=np.float32)).tolist() == [[[100] * 3]] * 3
    assert pixels.max() == pytest.approx(100)
