"""What the card of the model in the box says, held against the model itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from default_model import RESULTS, protocol, source
from medmeta.app.models import load_model
from medmeta.box import MOST_BYTES, PINNED, box_folder
from medmeta.encoders import Parts
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import HeadedLearner

NAME = "medmeta-base"
TASKS = 24


def held_figures() -> dict[tuple[str, str, int], dict[str, float]]:
    rows = json.loads(RESULTS.read_text("utf-8"))
    return {(row["method"], row["source"], row["shot"]): row for row in rows}


def test_the_card_s_numbers_are_the_model_s() -> None:
    model = load_model(Path(NAME))
    assert model.sha256 == PINNED[NAME]
    assert sum(file.stat().st_size for file in box_folder(NAME).iterdir()) <= MOST_BYTES
    assert isinstance(model.learner, HeadedLearner)
    encoder = getattr(model.learner, "encoder", None)
    assert isinstance(encoder, Parts)
    weights = sum(p.numel() for p in encoder.parameters())
    about = model.card["about"]
    assert f"{weights / 1e6:.1f} million weights" in about["what"]
    assert "64×64" in about["what"]
    assert model.preprocessing.size == 64
    assert len(model.seen_hashes()) > 10_000  # Omniglot's drawings alone are more


def test_the_card_s_figures_are_those_of_the_results() -> None:
    known = held_figures()
    figures = load_model(Path(NAME)).card["about"]["figures"]
    assert figures
    for figure in figures:
        row = known["default", figure["source"], figure["shot"]]
        assert figure["accuracy"] == pytest.approx(row["accuracy"] / 100, abs=1e-4)


def test_none_of_the_collections_of_the_table_was_seen(shared_data: Path) -> None:
    seen = load_model(Path(NAME)).seen_hashes()
    for name in {key[1] for key in held_figures()}:
        given = source(shared_data / "classification", name)
        assert not np.isin(given.hashes, seen).any(), name


@pytest.mark.parametrize(("name", "shot"), [("ph2", 5), ("oct_dme", 5)])
def test_some_tasks_again_give_the_figure_of_the_table(
    shared_data: Path, name: str, shot: int
) -> None:
    model = load_model(Path(NAME))
    given = source(shared_data / "classification", name)
    found = evaluate(model.learner, given, protocol(given, shot, TASKS)).summary["accuracy"]
    told = held_figures()["default", name, shot]
    error = (found.high - found.low) / 2 / 1.96
    assert abs(100 * found.mean - told["accuracy"]) < 100 * 4 * error
