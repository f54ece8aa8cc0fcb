"""The Dice to expect: what marked images show when they are left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medmeta import Preprocessing, Target, adapt_masks, open_mask_source
from medmeta.app.held_out_masks import HELD_OUT, sentences, with_held_out
from medmeta.app.models import LoadedModel
from medmeta.data.source import Source
from medmeta.learners import build_learner
from tests.data.masked_files import pictures, write_pairs


def ridge() -> LoadedModel:
    """Ridge regression on pixels, which nobody trained."""
    shape = Preprocessing(size=32, channels=1)
    learner = build_learner("pixel_ridge", {}, shape.input_spec, Target("masks", 2)).eval()
    card = {
        "learner": "pixel_ridge",
        "options": {},
        "input_spec": {"channels": 1, "space": [32, 32]},
        "preprocessing": shape.model_dump(mode="json"),
        "target": {"kind": "masks", "size": 2},
    }
    return LoadedModel(learner, card, None, "")


def marked(folder: Path, n: int = 4) -> Source:
    write_pairs(folder, n=n)
    shape = Preprocessing(size=32, channels=1)
    return open_mask_source(folder, preprocessing=shape, cache=folder / "cache")


def test_each_image_is_marked_by_what_the_others_teach(tmp_path: Path) -> None:
    source = marked(tmp_path / "set")
    predictor = adapt_masks(ridge(), source, estimate=True)
    (found,) = predictor.card[HELD_OUT]
    pixels, truth = source.gather(np.arange(4)), source.gather_masks(np.arange(4))
    dice = []
    for i in range(4):
        kept = np.array([k for k in range(4) if k != i])
        alone = adapt_masks(ridge(), source.take(kept))
        answer = alone.answer(pixels[[i]], uncertainty=True)
        given, wanted = answer.probabilities[0].argmax(0) == 1, truth[i] == 1
        dice.append(2 * (given & wanted).sum() / (given.sum() + wanted.sum()))
    assert found["dice"] == pytest.approx(np.mean(dice))
    assert (found["images"], found["groups"]) == (4, 4)
    half = 3.182446 * np.std(dice, ddof=1) / 2  # Student's t of three degrees of freedom
    assert found["low"] == pytest.approx(max(0, np.mean(dice) - half), abs=1e-6)
    assert found["high"] == pytest.approx(min(1, np.mean(dice) + half), abs=1e-6)
    assert f"Dice {np.mean(dice):.2f}" in sentences(predictor.card)[0]


def test_agreement_is_brought_down_to_it(tmp_path: Path) -> None:
    predictor = adapt_masks(ridge(), marked(tmp_path / "set"))
    row = {"structure": predictor.structures[0], "dice": 0.3, "agreement": 0.9, "low": None,
           "high": None, "images": 4, "groups": 4}  # fmt: skip
    told = replace(predictor, card={**predictor.card, HELD_OUT: [row]})
    asked = pictures(3, seed=9)[0][:, None]
    answer = told.answer(asked, uncertainty=True)
    assert answer.agreement is not None
    np.testing.assert_allclose(answer.expected_dice, answer.agreement / 3)


def test_one_patient_says_nothing_of_others(tmp_path: Path) -> None:
    predictor = adapt_masks(ridge(), marked(tmp_path / "set"))
    same = with_held_out(predictor, np.zeros(4, dtype=np.int64))
    assert HELD_OUT not in same.card
    assert "cannot be said" in sentences(same.card)[0]
    answer = same.answer(pictures(2)[0][:, None], uncertainty=True)
    assert answer.expected_dice is not None
    assert np.isnan(answer.expected_dice).all()
    two = with_held_out(predictor, np.array([0, 0, 1, 1]))
    (found,) = two.card[HELD_OUT]
    assert (found["images"], found["groups"], found["low"]) == (4, 2, None)
