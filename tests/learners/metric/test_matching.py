"""Attention against arithmetic and a plain loop; full context against its equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learners import build_head
from medmeta.learners.metric.matching import (
    FLOOR,
    FullContext,
    MatchingConfig,
    MatchingHead,
    class_log_attention,
)
from tests.learners.normal_numbers import normal

TWO = Target("classes", 2)


def test_attention_by_hand() -> None:
    """Similarities 1, 0.6 and 0 times a scale of 5; two of the images are of class 0."""
    head = MatchingHead(MatchingConfig(scale=5.0), 2)
    support = LabelledSet(
        torch.tensor([[[2.0, 0.0], [3.0, 4.0], [0.0, 1.0]]]),
        torch.tensor([[0, 0, 1]]),
        torch.zeros(1),
    )
    found = head.adapt(support, TWO)(torch.tensor([[[7.0, 0.0]]]))[0, 0].detach().tolist()
    weights = [math.exp(5.0), math.exp(3.0), 1.0]
    wanted = [math.log((weights[0] + weights[1]) / sum(weights)), math.log(1 / sum(weights))]
    assert found == pytest.approx(wanted, rel=1e-5)


def test_logits_equal_a_plain_loop_over_uneven_classes() -> None:
    images, queries = normal(2, 6, 5), normal(2, 3, 5, seed=1)
    labels = torch.tensor([[2, 0, 1, 0, 0, 1], [0, 1, 2, 2, 2, 2]])
    head = build_head("matching", {"scale": 7.0}, InputSpec(5, ()), Target("classes", 3))
    support = LabelledSet(images, labels, torch.zeros(2))
    found = head.adapt(support, Target("classes", 3))(queries).detach()
    assert found.dtype == torch.float64
    for t in range(2):
        for q in range(3):
            cosines = torch.cosine_similarity(queries[t, q][None], images[t])
            attention = [math.exp(7 * float(c)) for c in cosines]
            for n in range(3):
                mine = sum(a for a, y in zip(attention, labels[t], strict=True) if int(y) == n)
                assert float(found[t, q, n]) == pytest.approx(
                    math.log(mine / sum(attention)), rel=1e-5
                )


def test_logits_are_log_probabilities_and_the_loss_is_their_cross_entropy() -> None:
    head = MatchingHead(MatchingConfig(), 5).double()
    labels = torch.tensor([[0, 1, 1]])
    support = LabelledSet(normal(1, 3, 5), labels, torch.zeros(1))
    query = LabelledSet(normal(1, 3, 5, seed=1), labels, torch.zeros(1))
    logits = head.adapt(support, TWO)(query.inputs)
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(1, 3, dtype=torch.float64))
    wanted = -(logits[0, 0, 0] + logits[0, 1, 1] + logits[0, 2, 1])[None] / 3
    torch.testing.assert_close(head.loss(Episode(support, query, TWO)), wanted)


def test_a_class_that_gets_next_to_nothing_still_has_a_gradient() -> None:
    similarities = torch.tensor([[[300.0, 0.0]]], requires_grad=True)
    found = class_log_attention(similarities, torch.tensor([[0, 1]]), 2)
    assert found.tolist() == [[[0.0, -300.0]]]
    (gradient,) = torch.autograd.grad(found[0, 0, 1], similarities)
    assert gradient.tolist() == [[[-1.0, 1.0]]]


def test_a_class_without_images_is_the_least_likely_and_finite() -> None:
    similarities = torch.zeros(1, 1, 2, requires_grad=True)
    found = class_log_attention(similarities, torch.tensor([[0, 0]]), 2)
    assert found[0, 0].tolist() == pytest.approx([0.0, FLOOR], abs=1.0)
    (gradient,) = torch.autograd.grad(found.sum(), similarities)
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize(
    ("options", "trainable", "order_free"),
    [
        ({}, True, True),
        ({"learn_scale": False}, False, True),
        ({"learn_scale": False, "full_context": True}, True, False),
    ],
)
def test_what_is_learned(options: dict[str, bool], trainable: bool, order_free: bool) -> None:
    head = MatchingHead(MatchingConfig(**options), 4)
    assert head.traits.trainable == trainable
    assert head.traits.order_free == order_free
    assert head.log_scale.requires_grad == options.get("learn_scale", True)
    assert float(head.log_scale.detach().exp()) == pytest.approx(10.0)


def lstm_step(
    x: Tensor, hidden: Tensor, cell: Tensor, weights: dict[str, Tensor], suffix: str = ""
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM by its equations; gates in torch's order: in, forget, new, out."""
    from_input = weights["weight_ih" + suffix] @ x + weights["bias_ih" + suffix]
    from_state = weights["weight_hh" + suffix] @ hidden + weights["bias_hh" + suffix]
    entered, kept, new, shown = (from_input + from_state).chunk(4)
    cell = kept.sigmoid() * cell + entered.sigmoid() * new.tanh()
    return shown.sigmoid() * cell.tanh(), cell


def test_the_support_s_context_is_a_walk_both_ways_and_the_plain_embedding() -> None:
    torch.manual_seed(0)
    context = FullContext(3, steps=1).double()
    images = normal(1, 4, 3)
    weights = {name: w.detach() for name, w in context.over_support.named_parameters()}
    wanted = images[0].clone()
    for suffix, order in (("_l0", range(4)), ("_l0_reverse", reversed(range(4)))):
        hidden = cell = torch.zeros(3, dtype=torch.float64)
        for i in order:
            hidden, cell = lstm_step(images[0, i], hidden, cell, weights, suffix)
            wanted[i] += hidden
    torch.testing.assert_close(context.of_support(images)[0].detach(), wanted)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_query_reads_the_support_step_by_step(steps: int) -> None:
    torch.manual_seed(0)
    context = FullContext(3, steps=steps).double()
    support, queries = normal(2, 4, 3), normal(2, 5, 3, seed=1)
    weights = {name: w.detach() for name, w in context.reading.named_parameters()}
    found = context.of_queries(queries, support).detach()
    for t, q in ((0, 0), (1, 4)):
        plain = queries[t, q]
        hidden, cell = plain, torch.zeros(3, dtype=torch.float64)
        for _ in range(steps):
            attention = torch.softmax(support[t] @ hidden, dim=0)
            read = sum(a * g for a, g in zip(attention, support[t], strict=True))
            hidden, cell = lstm_step(torch.cat([plain, read]), hidden, cell, weights)
            hidden = hidden + plain
        torch.testing.assert_close(found[t, q], hidden)


def test_with_full_context_the_head_compares_what_has_seen_the_support() -> None:
    torch.manual_seed(0)
    head = MatchingHead(MatchingConfig(full_context=True, processing_steps=2), 3).double()
    assert head.context is not None
    images, queries, labels = normal(1, 3, 3), normal(1, 2, 3, seed=1), torch.tensor([[1, 0, 1]])
    seen = head.context.of_support(images)
    asked = head.context.of_queries(queries, seen)
    plain = MatchingHead(MatchingConfig(), 3).double()
    wanted = plain.adapt(LabelledSet(seen, labels, torch.zeros(1)), TWO)(asked)
    found = head.adapt(LabelledSet(images, labels, torch.zeros(1)), TWO)(queries)
    torch.testing.assert_close(found, wanted)
    without = plain.adapt(LabelledSet(images, labels, torch.zeros(1)), TWO)(queries)
    assert not torch.allclose(found, without, atol=1e-3)
