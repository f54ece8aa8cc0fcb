"""PT-MAP: the transport by hand and the plain way, and beside easyfsl."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medmeta.learners import build_head
from medmeta.learners.transductive.pt_map import (
    PTMAPConfig,
    PTMAPHead,
    map_shares,
    signed_power,
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

HOW = {"sharpness": 10.0, "steps": 10, "rate": 0.2}


def head(**options: object) -> PTMAPHead:
    return PTMAPHead(PTMAPConfig.model_validate(options), SIZE)


def test_the_plain_way() -> None:
    tasks = clustered(2, n_shot=2, n_query=4)
    support, queries = tasks.support.inputs.double(), tasks.query.inputs.double()
    labels = F.one_hot(tasks.support.labels, N_WAY).double()
    found = map_shares(support / 8, labels, queries / 8, balanced=True, **HOW).exp()
    for t in range(2):
        known, asked, member = support[t] / 8, queries[t] / 8, labels[t]
        centres = (member.T @ known) / member.sum(0)[:, None]
        for step in range(11):
            plan = torch.exp(-10 * torch.cdist(asked, centres) ** 2)
            for _ in range(500):
                plan = plan / plan.sum(1, keepdim=True)
                plan = plan / plan.sum(0, keepdim=True) * 4
            if step < 10:
                shares = torch.cat([member, plan])
                means = shares.T @ torch.cat([known, asked]) / shares.sum(0)[:, None]
                centres = 0.8 * centres + 0.2 * means
        torch.testing.assert_close(found[t], plan, rtol=1e-4, atol=1e-5)


def test_the_power_keeps_the_sign() -> None:
    found = signed_power(torch.tensor([0.0, 4.0, -4.0]), 0.5)
    torch.testing.assert_close(found, torch.tensor([1e-3, 2.0, -2.0]), rtol=1e-5, atol=1e-6)


def test_queries_help_each_other() -> None:
    tasks = clustered()
    alone = build_head("simple_shot", None, EMBEDDING, TARGET)
    found = accuracy(head(), tasks)
    assert found > accuracy(alone, tasks) + 0.05
    assert found > accuracy(head(steps=0), tasks) + 0.01


def test_classes_that_are_not_equally_many_are_better_not_balanced() -> None:
    tasks = clustered(n_query=30, spread=0.7)
    mostly_first = torch.cat([torch.arange(0, 150, 5), torch.tensor([1, 2, 3, 4])])
    labels = tasks.query.labels[:, mostly_first]
    right = {}
    for balanced in (True, False):
        with torch.no_grad():
            predictor = head(balanced=balanced).adapt(tasks.support, TARGET)
            answers = predictor(tasks.query.inputs[:, mostly_first])
        right[balanced] = float((answers.argmax(2) == labels).float().mean())
    assert right[False] > right[True] + 0.2


def test_a_single_query_is_answered_by_its_nearest_centre() -> None:
    """Balance would give it to all classes alike."""
    tasks = clustered(spread=0.3)
    found = logits(head(), tasks)[:, :1]
    one = head().adapt(tasks.support, TARGET)(tasks.query.inputs[:, :1])
    assert (one.softmax(2).amax(2) > 0.5).float().mean() > 0.9
    assert (one.argmax(2) == found.argmax(2)).float().mean() > 0.9


@pytest.mark.filterwarnings("ignore")
def test_easyfsl_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """On ready features: it neither scales nor centres them."""
    theirs = easyfsl_method("PTMAP", monkeypatch)
    tasks = clustered(3, n_shot=3)
    support, queries = tasks.support.inputs / 8, tasks.query.inputs / 8
    members = F.one_hot(tasks.support.labels, N_WAY).float()
    found = map_shares(support, members, queries, balanced=True, **HOW).exp()
    for t in range(3):
        method = theirs(power_factor=1.0)
        wanted = answers_of(method, support[t], tasks.support.labels[t], queries[t])
        torch.testing.assert_close(found[t], wanted, rtol=1e-3, atol=1e-3)
