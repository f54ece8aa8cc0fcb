from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from medmeta.app.report.figures import embedding_map, learning_curve, nice_ticks
from medmeta.app.report.words import Words
from tests.app.report._example import example_content

ENGLISH = Words("en")


def test_map_is_the_principal_plane_on_one_scale() -> None:
    content = example_content()
    assert content.support is not None
    assert content.query is not None
    drawn = embedding_map(content, ENGLISH)
    assert drawn is not None
    every = np.concatenate([content.support.embeddings, content.query.embeddings]).astype(float)
    u, s, _ = np.linalg.svd(every - every.mean(0), full_matrices=False)
    shares = s**2 / (s**2).sum()
    assert drawn.explained == pytest.approx(tuple(shares[:2]), rel=1e-4)
    places = np.array([(p.x, p.y) for p in drawn.support + drawn.query])
    first = PCA(2, svd_solver="full").fit_transform(every)[:, 0]
    assert np.corrcoef(places[:, 0], first)[0, 1] == pytest.approx(1, abs=1e-4)  # and its sign
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    plane = u[:, :2] * s[:2]
    expected = np.linalg.norm(plane[:, None] - plane, axis=-1)
    scale = apart.sum() / expected.sum()
    assert np.abs(apart - scale * expected).max() < 0.5  # points are rounded to a tenth
    assert places.min() > 0
    assert (places.max(0) < (drawn.width, drawn.height)).all()
    wrong = content.query.probabilities.argmax(1) != content.query.labels
    assert [p.wrong for p in drawn.query] == wrong.tolist()


def test_map_survives_values_that_are_not_numbers() -> None:
    content = example_content()
    assert content.query is not None
    assert content.support is not None
    embeddings = content.query.embeddings.copy()
    embeddings[3] = math.nan
    drawn = embedding_map(
        replace(content, query=replace(content.query, embeddings=embeddings)), ENGLISH
    )
    assert drawn is not None
    assert (len(drawn.query), len(drawn.support), drawn.left_out) == (59, 20, 1)
    flat = replace(content.support, embeddings=np.ones((20, 16), np.float32))
    assert embedding_map(replace(content, query=None, support=flat), ENGLISH) is None


def test_learning_curve_marks_the_best_step() -> None:
    curve = [{"step": s, "loss": 1.0} for s in range(1, 1001)]
    curve += [{"step": s, "validation": 1 - abs(s - 600) / 1000} for s in range(100, 1001, 100)]
    loss, score = learning_curve(curve, ENGLISH)
    assert len(loss.line.split()) == 150
    assert score.note == "best 1 at step 600"
    assert score.best is not None
    assert f"{score.best[0]},{score.best[1]}" == score.line.split()[5]


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0.33, 0.62) == [0.35, 0.4, 0.45, 0.5, 0.55, 0.6]
    assert nice_ticks(0, 4000) == [0, 1000, 2000, 3000, 4000]
