"""One learned task: answers in one go or in parts, and what is made only once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmeta.app.baselines import untrained_model
from medmeta.app.predictor import NEAREST, Answers, Predictions, SavedPredictor, joined
from medmeta.app.workbench import adapt, load_predictor
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.learners import EmbeddingLearner

N_SUPPORT = 6
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), dtype=np.uint8)
SOURCE = Source.from_arrays("mine", PIXELS[:N_SUPPORT], list("aabbcc"))


def predictor(learner: str = "prototypical", norm: str | None = None) -> SavedPredictor:
    encoder: dict[str, Any] = {"name": "conv4", "options": {"width": 4}}
    options = {"encoder": encoder | ({"norm": norm} if norm else {})}
    model = untrained_model(learner, options, Preprocessing(size=16), Target("classes", 3))
    return adapt(model, SOURCE)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of ``encode`` was given."""
    seen: list[int] = []
    encode = EmbeddingLearner.encode

    def spy(self: EmbeddingLearner, inputs: Any) -> Any:
        seen.append(inputs.shape[1])
        return encode(self, inputs)

    monkeypatch.setattr(EmbeddingLearner, "encode", spy)
    return seen


def test_the_support_is_encoded_once(encoded: list[int]) -> None:
    task = predictor()
    assert encoded == [N_SUPPORT]
    for _ in range(2):
        task.predict(PIXELS[10:15])
        assert task.support_embeddings.shape == (N_SUPPORT, 4)
    assert encoded == [N_SUPPORT, 5, 5]


def test_the_support_is_encoded_once_where_choices_are_made_too(encoded: list[int]) -> None:
    predictor("auto")
    assert encoded == [N_SUPPORT]


@pytest.mark.parametrize("learner", ["prototypical", "maml"])
def test_nearest_by_the_plain_formula(learner: str) -> None:
    task = predictor(learner)
    found = task.predict(PIXELS)
    for row in range(len(PIXELS)):
        query = found.embeddings[row].astype(float)
        cosine = [
            query @ known / (np.linalg.norm(query) * np.linalg.norm(known))
            for known in task.support_embeddings.astype(float)
        ]
        order = np.argsort(cosine)[::-1][:NEAREST]
        assert found.similarity[row] == pytest.approx([cosine[i] for i in order], abs=1e-5)
        assert [cosine[i] for i in found.nearest[row]] == pytest.approx(
            [cosine[i] for i in order], abs=1e-5
        )
    assert found.learned_from.tolist() == [i < N_SUPPORT for i in range(len(PIXELS))]
    assert found.outputs.sum(1) == pytest.approx(1)


@pytest.mark.parametrize("learner", ["prototypical", "ridge", "maml"])
def test_parts_are_answered_as_the_whole(learner: str) -> None:
    task = predictor(learner)
    whole = task.predict(PIXELS)
    parts = [task.answer(PIXELS[i : i + 7], task.embed(PIXELS[i : i + 7])) for i in range(0, 40, 7)]
    together = joined(Predictions, parts)
    for name, column in vars(whole).items():
        if column is None:  # not asked for
            continue
        np.testing.assert_allclose(getattr(together, name), column, rtol=0, atol=1e-5)
    assert not hasattr(joined(Answers, parts), "embeddings")


def test_a_transductive_learner_is_asked_about_all_at_once(encoded: list[int]) -> None:
    task = predictor(norm="batch")
    encoded.clear()
    task.predict(PIXELS)
    assert encoded == [40]


def test_a_transductive_head_is_asked_about_all_at_once(
    encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its encoder sees the images in parts."""
    task = predictor("bd_cspn")
    whole = task.answer(PIXELS, task.embed(PIXELS))
    monkeypatch.setattr(SavedPredictor, "batch_size", 7)
    encoded.clear()
    found = task.predict(PIXELS)
    assert max(encoded) == 7
    np.testing.assert_allclose(found.outputs, whole.outputs, rtol=0, atol=1e-5)
    assert np.abs(task.predict(PIXELS[:7]).outputs - found.outputs[:7]).max() > 1e-4


def test_read_only_pixels_are_taken(predictor: Path) -> None:
    loaded = load_predictor(predictor)
    pixels = loaded.pixels.copy()
    pixels.flags.writeable = False
    assert loaded.predict(pixels).learned_from.all()
