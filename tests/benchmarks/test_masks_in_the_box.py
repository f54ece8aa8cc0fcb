"""What the card of the model of masks in the box says, held against the model and the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segmentation_default
from mask_box import marked, unmarked
from medmeta.app.mask_choice import BOXED, SIZE
from medmeta.app.models import load_boxed
from medmeta.episode import InputSpec, Target
from medmeta.learners import build_learner
from segmentation import measured, protocol_for
from segmentation_sources import Folders

TASKS = 3


def held() -> dict[tuple[str, str, int], dict[str, Any]]:
    rows = json.loads(segmentation_default.RESULTS.read_text("utf-8"))
    return {(row["method"], row["structure"], row["shot"]): row for row in rows}


def test_the_card_s_numbers_are_the_model_s() -> None:
    model = load_boxed(BOXED)
    about = model.card["about"]
    weights = sum(p.numel() for p in model.learner.parameters())
    assert f"{weights:,} weights" in about["what"]
    assert model.preprocessing.size == SIZE
    assert model.card["target"] == {"kind": "masks", "size": 2}


def test_it_has_learned_something() -> None:
    fresh = build_learner("conditioned_unet", None, InputSpec(3, (SIZE, SIZE)), Target("masks", 2))
    ours, plain = load_boxed(BOXED).learner.state_dict(), fresh.state_dict()
    assert ours.keys() == plain.keys()
    assert bool((ours["answer.weight"] != 0).any())  # untrained it is ridge regression, and adds 0


def test_the_card_s_figures_are_those_of_the_results() -> None:
    known, figures = held(), load_boxed(BOXED).card["about"]["figures"]
    assert figures
    for figure in figures:
        row = known[BOXED, figure["structure"], figure["shot"]]
        assert figure["dice"] == pytest.approx(row["dice"], abs=1e-4)


def test_what_it_learned_from_is_known_and_nothing_of_the_table_is_in_it(
    shared_data: Path, tmp_path: Path
) -> None:
    seen = load_boxed(BOXED).seen_hashes()
    for source in (*marked(shared_data, tmp_path, 32), *unmarked(shared_data, 32)):
        assert np.isin(source.hashes, seen).all(), source.name
    for name, source in Folders(shared_data, tmp_path).tests(32).items():
        assert not np.isin(source.hashes, seen).any(), name


@pytest.mark.parametrize(("name", "shot"), [("busi", 1), ("Prostate-Cancer-MRI", 5)])
def test_some_tasks_again_give_the_figures_of_the_table(
    shared_data: Path, tmp_path: Path, name: str, shot: int
) -> None:
    source = Folders(shared_data, tmp_path).tests(SIZE)[name]
    protocol = protocol_for(source, shot)
    assert protocol is not None
    few = protocol.model_copy(update={"episodes": TASKS})
    found = measured(load_boxed(BOXED).learner, source, few)["by_task"]
    told = held()[BOXED, name, shot]["by_task"][:TASKS]
    assert found == pytest.approx(told, abs=0.02)


def test_the_mean_of_a_row_is_over_all_structures_or_not_said() -> None:
    def row(method: str, structure: str, dice: float) -> dict[str, Any]:
        return {"method": method, "structure": structure, "dice": dice, "shot": 1}

    rows = [row(BOXED, "a", 0.2), row(BOXED, "b", 0.6), row("pixel_ridge", "a", 0.3)]
    text = segmentation_default._of_shot(rows, 1)
    assert f"| {BOXED} (40) | 20 | 60 | 40 |" in text
    assert "| pixel_ridge (40) | 30 | – | – |" in text
