"""Prototypical logits against a plain loop, arithmetic and another implementation of distances."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medmeta.episode import LabelledSet, Target
from medmeta.learners import build_head
from medmeta.learners.metric.prototypical import (
    PrototypicalConfig,
    PrototypicalHead,
    squared_distances,
)


def answer(head: PrototypicalHead, images: list[list[float]], query: list[float]) -> list[float]:
    """Logits of one query, one support image per class."""
    labels = torch.arange(len(images))[None]
    support = LabelledSet(torch.tensor([images]), labels, torch.zeros(1))
    predictor = head.adapt(support, Target("classes", len(images)))
    return predictor(torch.tensor([[query]]))[0, 0].detach().tolist()


def test_squared_euclidean_by_hand() -> None:
    head = PrototypicalHead(PrototypicalConfig())
    assert answer(head, [[0.0, 0.0], [3.0, 4.0]], [0.0, 1.0]) == pytest.approx([-1.0, -18.0])


def test_euclidean_by_hand() -> None:
    head = PrototypicalHead(PrototypicalConfig(distance="euclidean"))
    assert answer(head, [[0.0, 0.0], [3.0, 4.0]], [0.0, 0.0]) == pytest.approx(
        [0.0, -5.0], abs=2e-6
    )


def test_cosine_by_hand_with_its_scale() -> None:
    head = PrototypicalHead(PrototypicalConfig(distance="cosine", cosine_scale=5.0))
    found = answer(head, [[2.0, 0.0], [3.0, 4.0]], [7.0, 0.0])
    assert found == pytest.approx([5.0, 5.0 * 0.6])


def test_the_cosine_s_scale_is_learned_and_distances_have_nothing_to_learn() -> None:
    cosine = PrototypicalHead(PrototypicalConfig(distance="cosine"))
    assert [name for name, _ in cosine.named_parameters()] == ["log_scale"]
    assert float(cosine.log_scale.detach().exp()) == pytest.approx(10.0)
    assert cosine.traits.trainable
    assert not PrototypicalHead(PrototypicalConfig()).traits.trainable


@pytest.mark.parametrize("distance", ["squared_euclidean", "euclidean", "cosine"])
def test_logits_equal_a_plain_loop_over_uneven_classes(distance: str) -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 6, 5, generator=random, dtype=torch.float64)
    queries = torch.randn(2, 3, 5, generator=random, dtype=torch.float64)
    labels = torch.tensor([[2, 0, 1, 0, 0, 1], [0, 1, 2, 2, 2, 2]])
    support = LabelledSet(images, labels, torch.zeros(2))
    head = build_head("prototypical", {"distance": distance}, None, Target("classes", 3))  # type: ignore[arg-type]
    found = head.adapt(support, Target("classes", 3))(queries).detach()
    assert found.dtype == torch.float64
    for t in range(2):
        for q in range(3):
            for n in range(3):
                mean = images[t][labels[t] == n].mean(0)
                assert float(found[t, q, n]) == pytest.approx(
                    logit(distance, queries[t, q], mean), rel=1e-6
                )


def logit(distance: str, query: Tensor, mean: Tensor) -> float:
    if distance == "cosine":
        return 10 * float(query @ mean) / math.sqrt(float(query @ query) * float(mean @ mean))
    square = sum((float(a) - float(b)) ** 2 for a, b in zip(query, mean, strict=True))
    return -square if distance == "squared_euclidean" else -math.sqrt(square)


def test_distances_equal_those_of_torch() -> None:
    random = torch.Generator().manual_seed(1)
    queries = torch.randn(3, 7, 20, generator=random, dtype=torch.float64)
    prototypes = torch.randn(3, 4, 20, generator=random, dtype=torch.float64)
    mode = "donot_use_mm_for_euclid_dist"
    wanted = torch.cdist(queries, prototypes, compute_mode=mode).square()
    torch.testing.assert_close(squared_distances(queries, prototypes), wanted)


def test_distances_keep_their_digits_far_from_the_origin() -> None:
    random = torch.Generator().manual_seed(2)
    queries = torch.randn(1, 7, 64, generator=random) + 1000
    prototypes = torch.randn(1, 4, 64, generator=random) + 1000
    wanted = torch.cdist(queries.double(), prototypes.double()).square()
    found = squared_distances(queries, prototypes).double()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    expanded = (  # what a formula without centring gives is off by far more
        queries.square().sum(-1)[..., None]
        + prototypes.square().sum(-1)[:, None]
        - 2 * queries @ prototypes.mT
    )
    assert float((expanded.double() - wanted).abs().max()) > 1


def test_a_query_on_its_prototype_has_a_finite_gradient() -> None:
    head = PrototypicalHead(PrototypicalConfig(distance="euclidean"))
    images = torch.eye(2)[None].requires_grad_()
    support = LabelledSet(images, torch.tensor([[0, 1]]), torch.zeros(1))
    head.adapt(support, Target("classes", 2))(images).sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert bool(torch.isfinite(images.grad).all())


def test_half_precision_is_compared_in_single() -> None:
    support = LabelledSet(
        torch.tensor([[[100.0], [101.0]]]).bfloat16(), torch.tensor([[0, 1]]), torch.zeros(1)
    )
    predictor = PrototypicalHead(PrototypicalConfig()).adapt(support, Target("classes", 2))
    found = predictor(torch.tensor([[[100.5]]]).bfloat16())
    assert found.dtype == torch.float32
    assert found.tolist() == [[[-0.25, -0.25]]]
