"""Hops against arithmetic and a plain loop; the laws of attention; it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learners import build_head
from medmeta.learners.memory.memory_network import (
    MemoryNetworkConfig,
    MemoryNetworkHead,
    read_weights,
)
from tests.learners.gradient.tiny_tasks import assert_slopes_are_differences
from tests.learners.memory.nuisance_tasks import FIVE, SIZE, accuracy, train
from tests.learners.normal_numbers import normal

THREE = Target("classes", 3)
LABELS = torch.tensor([[2, 0, 1, 0, 0, 1], [0, 1, 2, 2, 2, 2]])
TYINGS = ("adjacent", "layer_wise")


def head(size: int = 5, **options: Any) -> MemoryNetworkHead:
    """In double precision, with weights of its own in every place."""
    torch.manual_seed(0)
    found = MemoryNetworkHead(MemoryNetworkConfig(memory_size=4, **options), size).double()
    with torch.no_grad():
        for i, parameter in enumerate(found.parameters()):
            parameter.add_(0.2 * normal(*parameter.shape, seed=i))
    return found


def answers(learner: MemoryNetworkHead, images: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    support = LabelledSet(images, labels, torch.zeros(len(labels)))
    return learner.adapt(support, THREE)(queries).detach()


def test_one_hop_by_hand() -> None:
    """One number each: B = 0.5, A = 2, C = 3, W = 5, H = 7, and a weight of labels of 10."""
    learner = MemoryNetworkHead(
        MemoryNetworkConfig(hops=1, tying="layer_wise", memory_size=1, scale=1.0), 1
    )
    with torch.no_grad():
        for embedding, value in zip(learner.maps, (0.5, 2.0, 3.0, 5.0), strict=True):
            embedding.fill_(value)
        assert learner.between is not None
        learner.between.fill_(7.0)
        learner.label_weight.fill_(10.0)
    images, labels = torch.tensor([[[4.0], [-9.0]]]), torch.tensor([[0, 1]])  # of length 1: ±1
    support = LabelledSet(images, labels, torch.zeros(1))
    found = learner.adapt(support, Target("classes", 2))(torch.tensor([[[6.0]]])).detach()
    # u = 0.5, keys ±2, so p = sigmoid(±2); u' = 7 · 0.5 + 3 (p - p'); classes ±5.
    p = 1 / (1 + math.exp(-2.0))
    state = 3.5 + 3 * (2 * p - 1)
    assert found[0, 0].tolist() == pytest.approx([5 * state + 10 * p, -5 * state + 10 * (1 - p)])


@pytest.mark.parametrize("hops", [1, 3])
@pytest.mark.parametrize("tying", TYINGS)
def test_logits_equal_a_plain_loop_over_uneven_classes(tying: str, hops: int) -> None:
    learner = head(tying=tying, hops=hops)
    images, queries = normal(2, 6, 5), normal(2, 2, 5, seed=1)
    maps = [m.detach() for m in learner.maps]
    question, keys, values, answer = maps[0], maps[:-1], maps[1:], maps[-1]
    if tying == "layer_wise":
        keys, values = [maps[1]] * hops, [maps[2]] * hops
    between = torch.eye(4).double() if learner.between is None else learner.between.detach()
    length = float(learner.log_scale.detach().exp()) ** 0.5
    found = answers(learner, images, LABELS, queries)
    for t, q in ((0, 0), (1, 1)):
        stored = [length * x / x.norm() for x in images[t]]
        u = question @ (length * queries[t, q] / queries[t, q].norm())
        v = torch.zeros(3, dtype=torch.float64)
        for key, value in zip(keys, values, strict=True):
            pulls = [float(learner.label_pull.detach() * v[y]) for y in LABELS[t]]
            p = torch.tensor([float(u @ (key @ x)) + s for x, s in zip(stored, pulls, strict=True)])
            p = p.double().softmax(0)
            u = between @ u
            for i, x in enumerate(stored):
                u = u + p[i] * (value @ x)
                v[LABELS[t, i]] += p[i]
        for n in range(3):
            mine = [answer @ x for x, y in zip(stored, LABELS[t], strict=True) if int(y) == n]
            wanted = u @ (sum(mine) / len(mine)) + learner.label_weight.detach() * v[n]
            assert float(found[t, q, n]) == pytest.approx(float(wanted), rel=1e-5)


def test_adjacent_hops_share_their_maps() -> None:
    assert len(head(tying="adjacent", hops=3).maps) == 4
    assert head(tying="adjacent", hops=3).between is None
    assert len(head(tying="layer_wise", hops=3).maps) == 4
    assert len(head(tying="layer_wise", hops=9).maps) == 4


def test_attention_sums_to_one_at_each_hop() -> None:
    state, keys, pull = normal(2, 3, 4), normal(2, 6, 4, seed=1), normal(2, 3, 3, seed=2)
    labels = torch.nn.functional.one_hot(LABELS, 3).double()
    weights = read_weights(state, keys, pull, labels)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    learner = head(tying="layer_wise", hops=3)
    with torch.no_grad():
        learner.maps[-1].zero_()  # what is left of the logits is the labels read
        learner.label_weight.fill_(1.0)
    read = answers(learner, normal(2, 6, 5), LABELS, normal(2, 2, 5, seed=1))
    torch.testing.assert_close(read.sum(-1), torch.full((2, 2), 3.0, dtype=torch.float64))


def test_a_pull_draws_the_next_hop_to_the_classes_read_before() -> None:
    state, keys = torch.zeros(1, 1, 1), torch.zeros(1, 3, 1)
    labels = torch.nn.functional.one_hot(torch.tensor([[0, 0, 1]]), 2).float()
    weights = read_weights(state, keys, torch.tensor([[[math.log(4.0), 0.0]]]), labels)
    assert weights[0, 0].tolist() == pytest.approx([4 / 9, 4 / 9, 1 / 9])


@pytest.mark.parametrize("tying", TYINGS)
def test_order_and_names_do_not_matter(tying: str) -> None:
    learner, images, queries = head(tying=tying), normal(2, 6, 5), normal(2, 2, 5, seed=1)
    plain = answers(learner, images, LABELS, queries)
    order = [3, 0, 5, 1, 4, 2]
    torch.testing.assert_close(answers(learner, images[:, order], LABELS[:, order], queries), plain)
    renamed = torch.tensor([1, 2, 0])
    torch.testing.assert_close(
        answers(learner, images, renamed[LABELS], queries)[..., renamed], plain
    )


@pytest.mark.parametrize("tying", TYINGS)
def test_the_gradient_is_that_of_finite_differences(tying: str) -> None:
    learner = head(3, tying=tying, hops=2, scale=2.0)
    support = LabelledSet(normal(2, 6, 3), LABELS, torch.zeros(2))
    query = LabelledSet(normal(2, 3, 3, seed=1), LABELS[:, :3], torch.zeros(2))
    assert_slopes_are_differences(learner, Episode(support, query, THREE))


def test_untrained_a_query_is_of_the_class_of_its_like() -> None:
    for size in (6, 300):  # smaller and larger than a memory
        torch.manual_seed(0)
        learner = build_head("memory_network", None, InputSpec(size, ()), THREE)
        images = normal(1, 3, size).float()
        support = LabelledSet(images, torch.tensor([[2, 0, 1]]), torch.zeros(1))
        assert learner.adapt(support, THREE)(images).argmax(-1).tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("tying", TYINGS)
def test_it_learns_which_numbers_tell_the_classes_apart(tying: str) -> None:
    torch.manual_seed(0)
    options = {"tying": tying, "memory_size": 16}
    learner = build_head("memory_network", options, InputSpec(SIZE, ()), FIVE)
    before = accuracy(learner)
    train(learner, 60)
    assert before < 0.6
    assert accuracy(learner) > before + 0.2
