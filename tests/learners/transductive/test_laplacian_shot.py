"""LaplacianShot: neighbours, updates, and easyfsl beside it."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import kneighbors_graph

from medmeta.learners import build_head
from medmeta.learners.transductive.laplacian_shot import (
    LaplacianShotConfig,
    LaplacianShotHead,
    bound_updates,
    nearest_neighbours,
)
from tests.learners.easyfsl_methods import answers_of, easyfsl_method
from tests.learners.transductive.clusters import (
    EMBEDDING,
    SIZE,
    TARGET,
    accuracy,
    clustered,
    logits,
)


def head(**options: object) -> LaplacianShotHead:
    return LaplacianShotHead(LaplacianShotConfig.model_validate(options), SIZE)


def test_neighbours_are_those_of_scikit_learn() -> None:
    images = clustered(2).query.inputs
    found = nearest_neighbours(images, 3)
    for t in range(2):
        wanted = kneighbors_graph(images[t].numpy(), 3).toarray()
        assert (found[t].numpy() == wanted).all()


def test_a_single_query_has_no_neighbour() -> None:
    assert nearest_neighbours(torch.zeros(2, 1, 3), 2).tolist() == [[[0.0]], [[0.0]]]


def test_one_update_by_hand() -> None:
    """The second query is undecided; its neighbour's softmax, 3/4 to 1/4, is added twice."""
    scores = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]]).log()
    kernel = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
    found = bound_updates(scores, kernel, 1)
    torch.testing.assert_close(found[0, 1], torch.tensor([1.5, 0.5]))
    torch.testing.assert_close(found[0, 0], scores[0, 0])


def test_without_strength_it_is_the_nearest_prototype() -> None:
    tasks = clustered(4)
    plain = build_head("simple_shot", {"scale": 1.0}, EMBEDDING, TARGET)
    found = logits(head(strength=0.0, rectify=False), tasks)
    torch.testing.assert_close(found, logits(plain, tasks))


def test_queries_help_each_other() -> None:
    tasks = clustered()
    alone = build_head("simple_shot", None, EMBEDDING, TARGET)
    assert accuracy(head(), tasks) > accuracy(alone, tasks) + 0.02
    assert accuracy(head(rectify=False), tasks) > accuracy(alone, tasks)


@pytest.mark.filterwarnings("ignore")
def test_easyfsl_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prototypes as there: of shifted queries, weighed by the plain cosine."""
    theirs = easyfsl_method("LaplacianShot", monkeypatch)
    tasks = clustered(3, n_shot=3)
    middle = tasks.support.inputs.mean(1, keepdim=True)
    for t in range(3):
        support, queries = tasks.support.inputs[t] - middle[t], tasks.query.inputs[t] - middle[t]
        method = theirs(feature_normalization=2.0)
        wanted = answers_of(method, support, tasks.support.labels[t], queries)
        unit = method.compute_features(queries)[None]
        distances = (unit[:, :, None] - method.prototypes[None, None]).square().sum(3)
        found = bound_updates(-distances, 0.7 * nearest_neighbours(unit, 2), 20).softmax(2)
        torch.testing.assert_close(found[0], wanted, rtol=1e-3, atol=1e-4)
