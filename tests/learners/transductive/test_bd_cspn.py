"""Rectified prototypes by hand, the plain slow way, and beside easyfsl."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from medmeta.learners import build_head
from medmeta.learners.transductive.bd_cspn import (
    BDCSPNConfig,
    BDCSPNHead,
    pseudo_labels,
    rectified_prototypes,
)
from tests.learners.easyfsl_methods import answers_of, easyfsl_method
from tests.learners.transductive.clusters import (
    EMBEDDING,
    N_WAY,
    SIZE,
    TARGET,
    accuracy,
    clustered,
    logits,
)


def head(**options: object) -> BDCSPNHead:
    return BDCSPNHead(BDCSPNConfig.model_validate(options), SIZE)


def test_prototypes_by_hand() -> None:
    """One image e1 of class 0, one e2 of class 1; a query between, nearer to e1."""
    support, members = torch.eye(2)[None], torch.eye(2)[None]
    query = torch.tensor([[[0.8, 0.6]]])
    found = rectified_prototypes(support, members, query, confident=None, sharpness=10.0)
    share = 1 / (1 + math.exp(10 * (1 - 0.8)))  # of the query, against the support's cosine of 1
    first = [1 - share + share * 0.8, share * 0.6]
    torch.testing.assert_close(found[0], torch.tensor([first, [0.0, 1.0]]))


@pytest.mark.parametrize("confident", [None, 2])
@pytest.mark.parametrize("sharpness", [1.0, 10.0, 1000.0])
def test_prototypes_the_plain_slow_way(confident: int | None, sharpness: float) -> None:
    tasks = clustered(2, n_shot=2, n_query=4)
    support, queries = tasks.support.inputs.double(), tasks.query.inputs.double()
    labels = tasks.support.labels
    members = F.one_hot(labels, N_WAY).double()
    found = rectified_prototypes(
        support, members, queries, confident=confident, sharpness=sharpness
    )
    for t in range(2):
        means = torch.stack([support[t][labels[t] == n].mean(0) for n in range(N_WAY)])
        cosine = F.cosine_similarity(queries[t][:, None], means[None], dim=2)
        for n in range(N_WAY):
            mine = [q for q in range(len(queries[t])) if cosine[q].argmax() == n]
            mine = sorted(mine, key=lambda q: -float(cosine[q, n]))[:confident]
            images = [*support[t][labels[t] == n], *(queries[t][q] for q in mine)]
            alike = torch.stack([F.cosine_similarity(x, means[n], dim=0) for x in images])
            wanted = (sharpness * alike).softmax(0) @ torch.stack(images)
            torch.testing.assert_close(found[t, n], wanted)


def test_a_class_without_any_image_has_no_prototype() -> None:
    members = torch.eye(3)[None, :2]
    found = rectified_prototypes(
        torch.eye(2)[None], members, torch.eye(2)[None], confident=8, sharpness=10.0
    )
    assert found[0, 2].tolist() == [0.0, 0.0]


def test_no_more_than_the_confident_are_taken() -> None:
    taken = pseudo_labels(torch.rand(3, 30, 2), 4)
    assert taken.sum(1).max() == 4
    assert taken.sum(2).max() == 1


def test_queries_help_each_other() -> None:
    tasks = clustered()
    alone = build_head("simple_shot", {"centre": "none"}, EMBEDDING, TARGET)
    assert accuracy(head(), tasks) > accuracy(alone, tasks) + 0.02


def test_a_shift_of_all_queries_is_taken_off() -> None:
    moved = clustered(shift=6.0)
    assert accuracy(head(), moved) > accuracy(head(shift="none"), moved) + 0.05


def test_a_single_query_is_not_moved_to_the_support_s_mean() -> None:
    tasks = clustered(n_query=1)
    one = tasks.query.inputs[:, :1]
    predictor = head().adapt(tasks.support, TARGET)
    unmoved = head(shift="none").adapt(tasks.support, TARGET)
    torch.testing.assert_close(predictor(one), unmoved(one))


def test_the_order_of_the_queries_does_not_matter() -> None:
    tasks = clustered(3)
    order = torch.randperm(75, generator=torch.Generator().manual_seed(0))
    predictor = head().adapt(tasks.support, TARGET)
    there = predictor(tasks.query.inputs)
    torch.testing.assert_close(predictor(tasks.query.inputs[:, order]), there[:, order])


@pytest.mark.filterwarnings("ignore")
def test_easyfsl_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It weighs by the plain cosine, takes all queries, and asks them where they were."""
    theirs = easyfsl_method("BDCSPN", monkeypatch)
    tasks = clustered(3, n_shot=3)
    mine = head(normalise=False, confident=None, sharpness=1.0, shift="prototypes", scale=1.0)
    found = logits(mine, tasks)
    for t in range(3):
        wanted = answers_of(
            theirs(), tasks.support.inputs[t], tasks.support.labels[t], tasks.query.inputs[t]
        )
        torch.testing.assert_close(found[t], wanted, rtol=1e-4, atol=1e-5)
