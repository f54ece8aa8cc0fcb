"""Networks tuned to a task are taken where images held out show it, and not otherwise."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from medmeta.app import tuning
from medmeta.app.assembling import encoder_of
from medmeta.app.models import LoadedModel, load_model
from medmeta.app.predictor import SavedPredictor
from medmeta.app.support import open_support
from medmeta.app.tuning import Rival, by_chance, rivals, seconds_to_search, tuned_if_better
from medmeta.app.workbench import adapt, load_predictor
from medmeta.learners.auto.longer import LEAST_SECONDS
from tests.app._typed import folder

FRESH = Rival("fine_tuning", {"initial": "fresh", "rate": 0.02, "test_steps": 25})


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 0), (5, 2), (1, 6), (40, 22)])
def test_the_lead_is_judged_as_scipy_judges_it(gained: int, lost: int) -> None:
    before = np.array([False] * gained + [True] * lost + [True, False])
    after = np.array([True] * gained + [False] * lost + [True, False])
    n = gained + lost
    expected = binomtest(gained, n, alternative="greater").pvalue if n else 1.0
    assert by_chance(before, after) == pytest.approx(expected)


def test_what_is_tried_comes_from_the_registry() -> None:
    assert {rival.learner for rival in rivals()} == {"fine_tuning"}
    assert len({rival.name for rival in rivals()}) == len(rivals()) > 1


def test_half_of_a_long_budget_is_for_networks() -> None:
    assert [seconds_to_search(s) for s in (0.0, 60.0, 600.0)] == [0.0, 60.0, 300.0]


@pytest.mark.parametrize("seconds", [60.5, 61.0, 90.0, 121.0, 130.0])
def test_more_than_a_minute_is_still_a_longer_search_on_embeddings(seconds: float) -> None:
    assert LEAST_SECONDS < seconds_to_search(seconds) <= seconds


@pytest.fixture
def blind(run: Path) -> LoadedModel:
    """A model whose encoder gives the same embedding for every image."""
    model = load_model(run)
    with torch.no_grad():
        for parameter in encoder_of(model.learner).parameters():
            parameter.zero_()
    return model


@pytest.fixture
def bright_and_dark(tmp_path: Path) -> Path:
    return folder(tmp_path / "images", ("dark", "bright"), 9)


def chosen(
    model: LoadedModel, images: Path, *, until: float = float("inf")
) -> tuple[SavedPredictor, SavedPredictor]:
    """What was chosen on embeddings, and what is taken after networks were tuned."""
    support = open_support(images, model.preprocessing).source
    learn = partial(adapt, model, support)
    first = learn(head="auto", head_options={"hand_made": False}, seconds=1.0)
    return first, tuned_if_better(first, learn, until=until)


def test_a_network_that_sees_what_embeddings_hide_is_taken(
    blind: LoadedModel, bright_and_dark: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning, "rivals", lambda: [FRESH])
    _, taken = chosen(blind, bright_and_dark)
    choice = taken.card["choice"]
    assert taken.card["head"]["name"] == "fine_tuning"
    assert choice["chosen"] == FRESH.name
    assert "is a little too high" in choice["how"]
    assert choice["tuned"]["networks"][0]["accuracy"] > 0.9
    assert choice["tuned"]["on_embeddings"]["accuracy"] <= 0.6
    assert choice["tuned"]["networks"][0]["by_chance"] <= tuning.CHANCE
    taken.save(tmp_path / "saved")
    loaded = load_predictor(tmp_path / "saved")
    np.testing.assert_array_equal(
        loaded.predict(taken.pixels).outputs, taken.predict(taken.pixels).outputs
    )


def test_what_was_chosen_is_kept_where_networks_are_no_better(
    run: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = Rival("fine_tuning", {"test_steps": 0})
    monkeypatch.setattr(tuning, "rivals", lambda: [still])
    first, taken = chosen(load_model(run), workplace / "mine")
    assert taken.task is first.task
    assert "Held against one way to tune" in taken.card["choice"]["how"]
    assert "none did so much better" in taken.card["choice"]["how"]
    assert taken.card["choice"]["chosen"] == first.card["choice"]["chosen"]


def test_without_time_nothing_is_tuned_and_it_is_said(run: Path, workplace: Path) -> None:
    first, taken = chosen(load_model(run), workplace / "mine", until=time.perf_counter())
    assert taken.task is first.task
    assert "no time to tune" in taken.card["choice"]["how"]
