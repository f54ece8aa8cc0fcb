"""Pairs against arithmetic, scipy's distances and scikit-learn's log loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import log_loss

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learners import build_head
from medmeta.learners.metric.siamese import SiameseConfig, SiameseHead, weighted_distances
from tests.learners.normal_numbers import normal

TWO = Target("classes", 2)


def trained_head(size: int, *, balanced: bool = False) -> SiameseHead:
    """A head with weights of both signs and a bias, in double precision."""
    head = SiameseHead(SiameseConfig(balanced=balanced), size).double()
    with torch.no_grad():
        head.weights.copy_(0.1 * normal(size, seed=7))
        head.bias.fill_(0.5)
    return head


def test_distances_are_those_of_scipy_in_both_signs() -> None:
    queries, images, weights = normal(2, 4, 6), normal(2, 3, 6, seed=1), normal(6, seed=2)
    positive, negative = weights.clamp(min=0).numpy(), (-weights).clamp(min=0).numpy()
    found = weighted_distances(queries, images, weights)
    for t in range(2):
        q, s = queries[t].numpy(), images[t].numpy()
        wanted = cdist(q, s, "minkowski", p=1, w=positive) - cdist(
            q, s, "minkowski", p=1, w=negative
        )
        np.testing.assert_allclose(found[t].numpy(), wanted, rtol=1e-9)


def test_the_gradient_of_the_distances() -> None:
    queries = normal(1, 3, 4).requires_grad_()
    images = normal(1, 2, 4, seed=1).requires_grad_()
    weights = normal(4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(weighted_distances, (queries, images, weights))


def test_a_weight_of_0_has_the_gradient_of_its_difference() -> None:
    """``Σ wⱼ |qⱼ - sⱼ|`` is linear in the weights: |1 - 4| and |1 - 0|."""
    queries = torch.tensor([[[1.0, 1.0]]], requires_grad=True)
    images, weights = torch.tensor([[[4.0, 0.0]]]), torch.tensor([0.0, -2.0], requires_grad=True)
    found = weighted_distances(queries, images, weights)
    assert found.item() == -2.0
    of_queries, of_weights = torch.autograd.grad(found.sum(), (queries, weights))
    assert of_weights.tolist() == [3.0, 1.0]
    assert of_queries.tolist() == [[[0.0, -2.0]]]


def test_logits_are_mean_log_odds_over_uneven_classes() -> None:
    head = SiameseHead(SiameseConfig(), 1)
    with torch.no_grad():
        head.weights.fill_(-0.2)
        head.bias.fill_(0.3)
    support = LabelledSet(
        torch.tensor([[[0.0], [1.0], [5.0]]]), torch.tensor([[0, 0, 1]]), torch.zeros(1)
    )
    found = head.adapt(support, TWO)(torch.tensor([[[2.0]]])).detach()
    # Ten times 0.3 - 0.2·2, 0.3 - 0.2·1 and 0.3 - 0.2·3.
    assert found[0, 0].tolist() == pytest.approx([(-1.0 + 1.0) / 2, -3.0], abs=1e-6)


def test_far_classes_are_still_told_apart() -> None:
    """Where both probabilities are 0 in single precision, the mean of log-odds still orders."""
    head = SiameseHead(SiameseConfig(), 1).requires_grad_(False)
    support = LabelledSet(torch.tensor([[[0.0], [1.0]]]), torch.tensor([[0, 1]]), torch.zeros(1))
    found = head.adapt(support, TWO)(torch.tensor([[[100.0]]]))
    assert found.sigmoid().tolist() == [[[0.0, 0.0]]]
    assert found.tolist() == [[[-995.0, -985.0]]]


@pytest.mark.parametrize("balanced", [False, True])
def test_the_loss_is_that_of_scikit_learn_over_all_pairs(balanced: bool) -> None:
    head = trained_head(4, balanced=balanced)
    images, queries = normal(2, 5, 4), normal(2, 3, 4, seed=1)
    labels = torch.tensor([[0, 0, 1, 1, 1], [1, 0, 0, 0, 0]])
    asked = torch.tensor([[0, 1, 1], [0, 0, 1]])
    episode = Episode(
        LabelledSet(images, labels, torch.zeros(2)),
        LabelledSet(queries, asked, torch.zeros(2)),
        TWO,
    )
    found = head.loss(episode)
    weights = head.weights.detach()
    for t in range(2):
        same, p_same = [], []
        for q in range(3):
            for s in range(5):
                log_odds = 10 * float(weights @ (queries[t, q] - images[t, s]).abs() + 0.5)
                p_same.append(1 / (1 + np.exp(-log_odds)))
                same.append(int(asked[t, q] == labels[t, s]))
        share = np.where(same, np.mean(same), 1 - np.mean(same))
        wanted = log_loss(same, p_same, sample_weight=1 / share if balanced else None)
        assert float(found[t].detach()) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_a_balanced_loss_of_one_kind_of_pair_is_half_of_it(label: int) -> None:
    head = SiameseHead(SiameseConfig(balanced=True), 2)
    one = torch.zeros(1, 1, 2)
    support = LabelledSet(one, torch.tensor([[0]]), torch.zeros(1))
    query = LabelledSet(one, torch.tensor([[label]]), torch.zeros(1))
    loss = head.loss(Episode(support, query, TWO))
    log_odds = 5.0 if label == 0 else -5.0  # of the truth, for two images that are alike
    assert float(loss.detach()) == pytest.approx(np.log(1 + np.exp(-log_odds)) / 2)


def test_untrained_it_prefers_the_nearer_image_in_embeddings_of_any_size() -> None:
    for size in (1, 64):
        head = build_head("siamese", None, InputSpec(size, ()), TWO)
        support = LabelledSet(
            torch.stack([torch.zeros(1, size), torch.ones(1, size)], 1),
            torch.tensor([[0, 1]]),
            torch.zeros(1),
        )
        found = head.adapt(support, TWO)(torch.full((1, 1, size), 0.25))[0, 0].detach()
        assert found.tolist() == pytest.approx([2.5, -2.5])


def test_half_precision_is_compared_in_single() -> None:
    head = SiameseHead(SiameseConfig(), 1).requires_grad_(False)
    images = torch.tensor([[[100.0], [101.0]]]).bfloat16()
    support = LabelledSet(images, torch.tensor([[0, 1]]), torch.zeros(1))
    found = head.adapt(support, TWO)(torch.tensor([[[100.5]]]).bfloat16())
    assert found.dtype == torch.float32
    assert found.tolist() == [[[0.0, 0.0]]]
