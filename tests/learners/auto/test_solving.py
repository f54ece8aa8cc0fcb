"""Heads by the kernel alone: held against normal equations, matrices written out, scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from medmeta.learners.auto.solving import SCALES, discriminant, logistic, ridge, solve

N, SIZE, WAY = 12, 5, 3


def task() -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings ``(12, 5)``, of three classes of 6, 4 and 2 images, and queries ``(3, 5)``."""
    random = torch.Generator().manual_seed(3)
    labels = torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    means = torch.randn(WAY, SIZE, generator=random, dtype=torch.double)
    images = means[labels] + torch.randn(N, SIZE, generator=random, dtype=torch.double)
    return images, labels, torch.randn(3, SIZE, generator=random, dtype=torch.double)


def one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, WAY).double()


def test_ridge_solves_the_weighted_normal_equations() -> None:
    images, labels, queries = task()
    weights = torch.linspace(0.2, 2, N, dtype=torch.double)
    wanted = one_hot(labels)
    a, b = ridge(images @ images.T, wanted, weights, 0.7)
    design = np.column_stack([images.numpy(), np.ones(N)])
    weighted = design * weights.numpy()[:, None]
    solved = np.linalg.solve(
        design.T @ weighted + 0.7 * np.eye(SIZE + 1), weighted.T @ wanted.numpy()
    )
    expected = np.column_stack([queries.numpy(), np.ones(3)]) @ solved
    np.testing.assert_allclose((queries @ images.T @ a + b).numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("penalty", [0.05, 2.0])
def test_the_discriminant_is_that_of_the_shrunken_covariance(penalty: float) -> None:
    images, labels, queries = task()
    a, b = discriminant(images @ images.T, one_hot(labels), penalty)
    found = (queries @ images.T @ a + b).numpy()
    x, y = images.numpy(), labels.numpy()
    means = np.stack([x[y == k].mean(0) for k in range(WAY)])
    within = (x - means[y]).T @ (x - means[y]) / N
    inverse = penalty * np.linalg.inv(within + penalty * np.eye(SIZE))
    apart = queries.numpy()[:, None] - means
    expected = -0.5 * np.einsum("qkd,de,qke->qk", apart, inverse, apart)
    np.testing.assert_allclose(_differences(found), _differences(expected), atol=1e-10)


def test_without_a_penalty_the_discriminant_is_the_nearest_centroid() -> None:
    images, labels, queries = task()
    a, b = discriminant(images @ images.T, one_hot(labels), 0.0)
    means = torch.stack([images[labels == k].mean(0) for k in range(WAY)])
    expected = -0.5 * torch.cdist(queries, means).square()
    found = queries @ images.T @ a + b
    np.testing.assert_allclose(_differences(found.numpy()), _differences(expected.numpy()))


def _differences(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits - logits[:, :1]


def test_logistic_is_that_of_scikit_learn() -> None:
    images, labels, queries = task()
    a, b = logistic(images @ images.T, one_hot(labels), torch.ones(N).double(), 1.0)
    design = np.column_stack([images.numpy(), np.ones(N)])
    known = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10).fit(design, labels.numpy())
    found = (queries @ images.T @ a + b).softmax(-1).numpy()
    expected = known.predict_proba(np.column_stack([queries.numpy(), np.ones(3)]))
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("head", SCALES)
def test_images_that_are_masked_have_no_part(head: str) -> None:
    images, labels, queries = task()
    kept = torch.tensor([0, 1, 2, 6, 7, 10])
    mask = torch.zeros(N).double()
    mask[kept] = 1
    whole = images @ images.T
    a, b = solve(head, 0.0 if head == "centroid" else 0.3, whole, one_hot(labels), mask)
    some = images[kept]
    ones = torch.ones(len(kept)).double()
    penalty = 0.0 if head == "centroid" else 0.3
    a2, b2 = solve(head, penalty, some @ some.T, one_hot(labels[kept]), ones)
    found, expected = queries @ images.T @ a + b, queries @ some.T @ a2 + b2
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert bool((a[mask == 0] == 0).all())


def test_a_small_class_counts_as_much_as_a_large_one() -> None:
    """Three images at -1 of one class, one at +1 of the other: the middle is answered alike."""
    images = torch.tensor([[-1.0], [-1.0], [-1.0], [1.0]]).double()
    wanted = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 1]), 2).double()
    a, b = solve("ridge", 1.0, images @ images.T, wanted, torch.ones(4).double())
    middle = torch.zeros(1, 1).double() @ images.T @ a + b
    torch.testing.assert_close(middle, torch.zeros(1, 2).double(), atol=1e-12, rtol=0)
