"""Logistic weights against scikit-learn, and their gradient against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from medmeta.episode import LabelledSet, Target
from medmeta.learners.heads import logistic
from medmeta.learners.heads.logistic import (
    LogisticConfig,
    LogisticHead,
    logistic_weights,
    mean_length,
)
from medmeta.learners.heads.ridge import with_constant
from tests.learners.normal_numbers import normal


def one_hot(labels: torch.Tensor, n_way: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, n_way).double()


@pytest.mark.parametrize(
    ("n_way", "n_shot", "size"), [(2, 1, 4), (3, 5, 8), (5, 5, 64), (4, 10, 3), (20, 1, 16)]
)
@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_probabilities_are_those_of_scikit_learn(
    n_way: int, n_shot: int, size: int, strength: float
) -> None:
    labels = torch.arange(n_way).repeat(n_shot)
    centres = normal(2, n_way, size, seed=1)
    images = centres[:, labels] + 0.5 * normal(2, len(labels), size)
    queries = with_constant(centres[:, labels] + normal(2, len(labels), size, seed=2))
    images, queries = images / size**0.5, queries / size**0.5
    design = with_constant(images)
    found = logistic_weights(
        design.float(),
        one_hot(labels.expand(2, -1), n_way).float(),
        torch.tensor(strength),
        steps=LogisticConfig().steps,
    )
    for t in range(2):
        # Two classes have one weight vector there: the difference of ours, with half the penalty.
        penalty = strength / 2 if n_way == 2 else strength
        other = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-9, max_iter=5000)
        other.fit(design[t].numpy(), labels.numpy())
        ours = (queries[t].float() @ found[t]).softmax(-1)
        np.testing.assert_allclose(ours, other.predict_proba(queries[t].numpy()), atol=1e-4)


@pytest.mark.parametrize("n_way", [2, 3, 5])
def test_the_gradient_of_the_solution(n_way: int) -> None:
    labels = torch.arange(n_way).repeat(2).expand(2, -1)
    design = normal(2, 2 * n_way, 4).requires_grad_()
    strength = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, s: logistic_weights(x, one_hot(labels, n_way), s, steps=12), (design, strength)
    )


def test_the_gradient_of_the_head_in_double() -> None:
    head = LogisticHead(LogisticConfig()).double()
    labels = torch.tensor([[0, 1, 1, 2]])

    def answers(images: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        support = LabelledSet(images, labels, torch.zeros(1))
        return head.adapt(support, Target("classes", 3))(queries)

    images, queries = normal(1, 4, 5).requires_grad_(), normal(1, 2, 5, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(answers, (images, queries))
    answers(images, queries).square().sum().backward()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert parameter.grad != 0


def test_the_optimum_by_hand() -> None:
    """Images 1 and -1, λ = 1: weights ±w with w = 1 - tanh w, as the gradient is zero there."""
    design = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    labels = torch.eye(2, dtype=torch.float64)[None]
    found = logistic_weights(design, labels, torch.ones(()).double(), steps=6)
    w = found[0, 0, 0]
    torch.testing.assert_close(found[0, 0, 1], -w)
    torch.testing.assert_close(w, 1 - torch.tanh(w))


def test_the_penalty_means_the_same_for_embeddings_of_any_size() -> None:
    labels = torch.tensor([[0, 1, 0, 1]])
    images, queries = normal(1, 4, 8).float(), normal(1, 3, 8, seed=1).float()
    head = LogisticHead(LogisticConfig())
    answers = [
        head.adapt(LabelledSet(images * s, labels, torch.zeros(1)), Target("classes", 2))(
            queries * s
        )
        for s in (1.0, 1e4)
    ]
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-4, atol=1e-4)


def test_a_weak_penalty_far_from_the_start_is_reached_by_shorter_steps() -> None:
    """The loss at the end is that of ten times as many steps."""
    labels = torch.tensor([[0, 1, 2] * 8])
    design, wanted = normal(1, 24, 3, seed=4) * 30, one_hot(labels, 3)
    strength = torch.tensor(1e-2, dtype=torch.float64)

    def loss(steps: int) -> torch.Tensor:
        weights = logistic_weights(design, wanted, strength, steps=steps)
        fit = -(wanted * (design @ weights).log_softmax(-1)).sum()
        return fit + strength / 2 * weights.square().sum()

    torch.testing.assert_close(loss(10), loss(100), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_image_repeated_is_solved_all_the_same(value: float) -> None:
    images = torch.full((1, 6, 3), value)
    support = LabelledSet(images, torch.tensor([[0, 1, 0, 1, 0, 1]]), torch.zeros(1))
    found = LogisticHead(LogisticConfig()).adapt(support, Target("classes", 2))(images)
    torch.testing.assert_close(found[..., 0], found[..., 1], rtol=1e-4, atol=1e-4)


def test_length_is_the_root_of_the_mean_square() -> None:
    assert mean_length(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])).item() == pytest.approx(13**0.5)


def test_a_weak_penalty_on_classes_of_very_unlike_sizes_reaches_the_optimum() -> None:
    """There the gradient is zero; ten steps leave 0.015."""
    labels = torch.zeros(200, dtype=torch.int64)
    labels[:3] = torch.arange(3)
    images = normal(1, 200, 8)
    design, wanted = with_constant(images / mean_length(images)), one_hot(labels, 3)[None]
    strength = torch.tensor(1e-4, dtype=torch.float64)
    weights = logistic_weights(design, wanted, strength, steps=LogisticConfig().steps)
    gradient = design.mT @ ((design @ weights).softmax(-1) - wanted) + strength * weights
    assert gradient.abs().max() < 1e-5


def test_steps_end_at_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    search = logistic._line_search

    def counted(*given: Any) -> torch.Tensor:
        taken.append(1)
        return search(*given)

    monkeypatch.setattr(logistic, "_line_search", counted)
    labels = torch.arange(5).repeat(5)
    images = normal(1, 25, 64)
    design = with_constant(images / mean_length(images))
    logistic_weights(design, one_hot(labels, 5)[None], torch.tensor(0.1).double(), steps=100)
    assert len(taken) < 8  # each doubles the digits
