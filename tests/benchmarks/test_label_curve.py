"""What is promised of more labels, by hand; and that the prior in the box was learned elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from box_prior import Fall
from label_curve import ROOT, Promise, promised, table
from medical_recipes import TESTED_ON
from medmeta.app.models import load_model
from medmeta.app.trusting import prior_of
from medmeta.trust.prior import TrustPrior
from medmeta.trust.results import Figure


def test_errors_halve_by_an_exponent_of_one() -> None:
    known = {5: Figure(0.6, 0.5, 0.7), 10: Figure(0.75, 0.7, 0.8)}
    found = promised("some", known, TrustPrior(exponent=1.0, exponent_spread=0.5), 5, 10)
    assert found.expected == pytest.approx(0.8)
    assert found.low == pytest.approx(0.5)  # two deviations below, the exponent is 0
    assert found.high == pytest.approx(1 - 0.3 / 4)
    assert found.holds
    assert found.exponent == pytest.approx(0.678, abs=1e-3)  # 40 % to 25 %


def test_what_is_not_held_is_bold() -> None:
    inside = Promise("inside", 5, 10, 0.5, 0.6, 0.5, 0.7, 0.65)
    outside = Promise("outside", 5, 10, 0.5, 0.6, 0.5, 0.7, 0.75)
    lines = table([inside, outside]).splitlines()
    assert lines[2] == "| 5 to 10 | inside | 50.0 | 60.0 | 50.0 to 70.0 | 65.0 | 0.51 |"
    assert "| **75.0** |" in lines[3]


def test_a_source_s_exponent_is_the_slope_between_two_numbers_of_images() -> None:
    assert Fall("quartered", {"5": 0.4, "10": 0.1}, 1).exponent == pytest.approx(2)


def test_the_prior_in_the_box_is_of_sources_that_neither_weights_nor_results_know() -> None:
    model = load_model(Path("medmeta-base"))
    prior = prior_of(model)
    assert prior is not None
    told = json.loads((ROOT / "docs" / "box_prior.json").read_text("utf-8"))
    assert told["prior"] == prior.to_dict()
    names = {row["source"] for row in told["sources"]}
    assert not names & {source["name"] for source in model.card["sources"]}
    assert not names & {*TESTED_ON, "brain_tumor_mri", "malaria_cells_iml"}
    exponents = [row["exponent"] for row in told["sources"]]
    assert prior.exponent == pytest.approx(sum(exponents) / len(exponents), abs=1e-3)
