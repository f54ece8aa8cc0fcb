"""One answer for each volume: worked out by hand."""

from __future__ import annotations

import numpy as np

from medmeta.app.pooling import pooled
from medmeta.app.predictor import Answers, Predictions

ANSWERS = Answers(
    outputs=np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.5, 0.5]]),
    nearest=np.array([[3, 1], [1, 2], [1, 4], [0, 5]]),
    similarity=np.array([[0.9, 0.5], [0.8, 0.1], [0.95, 0.3], [0.4, 0.2]]),
    learned_from=np.array([False, True, False, False]),
)


def test_probabilities_are_averaged_and_the_nearest_is_that_of_any_slice() -> None:
    found = pooled(ANSWERS, np.array([3, 1]))
    assert np.allclose(found.outputs, [[0.6, 0.4], [0.5, 0.5]])
    assert found.nearest.tolist() == [[1, 3], [0, 5]]
    assert found.similarity.tolist() == [[0.95, 0.9], [0.4, 0.2]]
    assert found.learned_from.tolist() == [True, False]


def test_pictures_are_left_as_they_are() -> None:
    assert pooled(ANSWERS, np.ones(4, np.int64)) is ANSWERS


def test_embeddings_keep_their_kind() -> None:
    answers = Predictions(**vars(ANSWERS), embeddings=np.arange(8, dtype=np.float32).reshape(4, 2))
    found = pooled(answers, np.array([2, 2]))
    assert isinstance(found, Predictions)
    assert found.embeddings.dtype == np.float32
    assert found.embeddings.tolist() == [[1, 2], [5, 6]]
