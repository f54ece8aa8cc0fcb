"""Ridge weights against scikit-learn, both forms against each other, and their gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from medmeta.episode import LabelledSet, Target
from medmeta.learners.heads.ridge import RidgeConfig, RidgeHead, ridge_weights, with_constant
from tests.learners.normal_numbers import normal


@pytest.mark.parametrize("n_examples", [4, 7, 8, 30])
def test_weights_are_those_of_scikit_learn(n_examples: int) -> None:
    """Seven columns: fewer, as many and more images, so both forms."""
    design, wanted = with_constant(normal(2, n_examples, 6)), normal(2, n_examples, 3, seed=1)
    strength = torch.tensor([0.5, 3.0], dtype=torch.float64)
    found = ridge_weights(design, wanted, strength)
    for t in range(2):
        other = Ridge(alpha=float(strength[t]), fit_intercept=False)
        other.fit(design[t].numpy(), wanted[t].numpy())
        np.testing.assert_allclose(found[t].numpy(), other.coef_.T, rtol=1e-9, atol=1e-12)


@given(
    n_examples=st.integers(1, 12),
    size=st.integers(1, 12),
    strength=st.floats(1e-2, 1e3),
    seed=st.integers(0, 2**31),
)
def test_the_two_forms_agree(n_examples: int, size: int, strength: float, seed: int) -> None:
    """X'(XX' + λ)⁻¹ Y = (X'X + λ)⁻¹ X'Y, whichever of them was taken."""
    design, wanted = normal(1, n_examples, size, seed=seed), normal(1, n_examples, 2, seed=seed + 1)
    found = ridge_weights(design, wanted, torch.tensor([strength], dtype=torch.float64))[0]
    x, y = design[0].numpy(), wanted[0].numpy()
    few = x.T @ np.linalg.solve(x @ x.T + strength * np.eye(n_examples), y)
    many = np.linalg.solve(x.T @ x + strength * np.eye(size), x.T @ y)
    np.testing.assert_allclose(found.numpy(), few, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.numpy(), many, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n_examples", [3, 6])
def test_the_gradient_of_the_solution(n_examples: int) -> None:
    design = normal(2, n_examples, 4).requires_grad_()
    wanted = normal(2, n_examples, 2, seed=1).requires_grad_()
    strength = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ridge_weights, (design, wanted, strength))


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_the_gradient_of_the_head_in_double(kind: str) -> None:
    target = Target("classes", 2) if kind == "classes" else Target("values", 1)
    head = RidgeHead(RidgeConfig()).double()
    labels = torch.tensor([[0, 1, 1]]) if kind == "classes" else normal(1, 3, 1, seed=5)

    def answers(images: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        # The penalty follows the images' mean square as a constant, so that square is held still.
        images = images * (start.square().sum() / images.square().sum()).sqrt()
        return head.adapt(LabelledSet(images, labels, torch.zeros(1)), target)(queries)

    start = normal(1, 3, 4)
    queries = normal(1, 2, 4, seed=3).requires_grad_()
    assert answers(start, queries).dtype == torch.float64
    assert torch.autograd.gradcheck(answers, (start.clone().requires_grad_(), queries))


def test_logits_by_hand() -> None:
    """Images 1 and -1: X'X = 2I with the constant; mean square 1, so λ = 1 and W = X'Y / 3."""
    head = RidgeHead(RidgeConfig(regularisation=1.0, scale=6.0))
    support = LabelledSet(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[0, 1]]), torch.zeros(1))
    found = head.adapt(support, Target("classes", 2))(torch.tensor([[[1.0], [0.0]]]))
    # One-hot columns: X'Y = [[1, -1], [1, 1]], so outputs are (x + 1)/3 and (1 - x)/3, times 6.
    torch.testing.assert_close(found, torch.tensor([[[4.0, 0.0], [2.0, 2.0]]]))


def test_a_weak_penalty_keeps_its_digits_in_single_precision() -> None:
    """λ of a millionth of the mean square, which singles lose among products of like images."""
    random = np.random.default_rng(0)
    for n_examples, size in ((50, 64), (100, 64), (60, 200)):
        images = random.random(size) + 1e-3 * random.normal(size=(n_examples, size))
        images = images.astype(np.float32)
        values = random.normal(size=(n_examples, 1)).astype(np.float32)
        head = RidgeHead(RidgeConfig(regularisation=1e-6))
        support = LabelledSet(
            torch.from_numpy(images)[None], torch.from_numpy(values)[None], torch.zeros(1)
        )
        found = head.adapt(support, Target("values", 1))(support.inputs)[0].detach()
        x = np.c_[images.astype(float), np.ones(n_examples)]
        penalty = 1e-6 * np.square(images.astype(float)).sum(1).mean()
        dual = np.linalg.solve(x @ x.T + penalty * np.eye(n_examples), values.astype(float))
        # Single precision of the weights, which are some tens, is left.
        np.testing.assert_allclose(found.numpy(), x @ (x.T @ dual), atol=1e-3)


@pytest.mark.parametrize("length", [0.1, 1.0, 10.0])
def test_the_constant_is_1_whatever_the_embeddings_are(length: float) -> None:
    """One image c of value 3, λ = c²: XX' = c² + 1, so its answer is 3 (c² + 1) / (2 c² + 1)."""
    image = torch.full((1, 1, 1), length)
    support = LabelledSet(image, torch.full((1, 1, 1), 3.0), torch.zeros(1))
    found = RidgeHead(RidgeConfig()).adapt(support, Target("values", 1))(image)
    square = length**2
    assert found.item() == pytest.approx(3 * (square + 1) / (2 * square + 1), rel=1e-6)


def test_the_penalty_means_the_same_for_long_embeddings_of_any_length() -> None:
    labels = torch.tensor([[0, 1, 0, 1]])
    images, queries = normal(1, 4, 8) * 100, normal(1, 3, 8, seed=1) * 100
    head = RidgeHead(RidgeConfig())
    answers = [
        head.adapt(LabelledSet(images * s, labels, torch.zeros(1)), Target("classes", 2))(
            queries * s
        )
        for s in (1.0, 1000.0)
    ]
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-3, atol=1e-3)


def test_one_image_repeated_is_solved_all_the_same() -> None:
    images = torch.ones(1, 6, 3)
    support = LabelledSet(images, torch.tensor([[0, 1, 0, 1, 0, 1]]), torch.zeros(1))
    found = RidgeHead(RidgeConfig()).adapt(support, Target("classes", 2))(images)
    torch.testing.assert_close(found[..., 0], found[..., 1])
