"""The dual of the support vector machine against scipy, and its gradient against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from medmeta.episode import LabelledSet, Target
from medmeta.learners.heads import svm
from medmeta.learners.heads.svm import SVMConfig, SVMHead, project, svm_duals
from tests.learners.normal_numbers import normal


def task(n_way: int, n_shot: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``(1, S, D)`` of mean square length about 1 and their one-hot labels."""
    labels = torch.arange(n_way).repeat(n_shot)
    images = normal(1, n_way, size, seed=seed)[:, labels] + normal(1, len(labels), size, seed=9)
    wanted = torch.nn.functional.one_hot(labels, n_way).double()[None]
    return images / (2 * size) ** 0.5, wanted


def objective(kernel: np.ndarray, wanted: np.ndarray, duals: np.ndarray) -> float:
    return float(0.5 * np.sum(duals * (kernel @ duals)) - np.sum(wanted * duals))


def by_scipy(kernel: np.ndarray, wanted: np.ndarray, slack: float) -> np.ndarray:
    shape = wanted.shape
    rows = np.kron(np.eye(shape[0]), np.ones(shape[1]))
    found = minimize(
        lambda a: objective(kernel, wanted, a.reshape(shape)),
        np.zeros(wanted.size),
        jac=lambda a: (kernel @ a.reshape(shape) - wanted).ravel(),
        bounds=[(None, top) for top in slack * wanted.ravel()],
        constraints={"type": "eq", "fun": lambda a: rows @ a, "jac": lambda a: rows},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return np.asarray(found.x).reshape(shape)


@pytest.mark.parametrize(
    ("n_way", "n_shot", "size"), [(2, 1, 4), (3, 3, 16), (5, 2, 30), (3, 4, 2)]
)
@pytest.mark.parametrize("slack", [0.1, 1.0, 10.0])
def test_the_optimum_is_that_of_scipy(n_way: int, n_shot: int, size: int, slack: float) -> None:
    """Longer and shorter embeddings than the support; margins violated or not."""
    images, wanted = task(n_way, n_shot, size)
    kernel = images @ images.mT
    found = svm_duals(kernel, wanted, slack, rounds=SVMConfig().rounds)[0].numpy()
    expected = by_scipy(kernel[0].numpy(), wanted[0].numpy(), slack)
    ours = objective(kernel[0].numpy(), wanted[0].numpy(), found)
    theirs = objective(kernel[0].numpy(), wanted[0].numpy(), expected)
    assert ours == pytest.approx(theirs, abs=1e-4)
    queries = images[0].numpy() + 0.1 * normal(n_way * n_shot, size, seed=4).numpy()
    scores = [queries @ images[0].numpy().T @ duals for duals in (found, expected)]
    np.testing.assert_array_equal(scores[0].argmax(1), scores[1].argmax(1))


@pytest.mark.parametrize("rounds", [1, 8])
def test_the_bounds_hold_exactly_also_before_the_optimum(rounds: int) -> None:
    images, wanted = task(4, 5, 2)
    duals = svm_duals(images @ images.mT, wanted, 100.0, rounds=rounds)
    assert (duals <= 100.0 * wanted).all()
    torch.testing.assert_close(duals.sum(-1), torch.zeros(1, 20).double(), atol=1e-12, rtol=0)


def test_the_projection_is_the_nearest_point() -> None:
    """Its conditions: the difference is the same wherever no bound is reached, more elsewhere."""
    given, wanted = normal(50, 5), torch.eye(5, dtype=torch.float64).repeat(10, 1)
    found = project(given, wanted, 2.0)
    torch.testing.assert_close(found.sum(-1), torch.zeros(50).double())
    assert (found <= 2.0 * wanted).all()
    shift = given - found
    free = found < 2.0 * wanted - 1e-12
    common = (shift * free).sum(-1, keepdim=True) / free.sum(-1, keepdim=True)
    assert ((shift - common).abs() * free).max() < 1e-12
    assert ((shift - common) * ~free).min() > -1e-12


@pytest.mark.parametrize("slack", [0.2, 10.0])
def test_the_gradient_of_the_head_in_double(slack: float) -> None:
    """Some bounds are reached with the smaller slack, none of the upper with the larger."""
    head = SVMHead(SVMConfig(slack=slack)).double()
    images, wanted = task(3, 2, 8)

    def answers(images: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        support = LabelledSet(images, wanted.argmax(-1), torch.zeros(1))
        return head.adapt(support, Target("classes", 3))(queries)

    queries = normal(1, 2, 8, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(answers, (images.requires_grad_(), queries), atol=1e-4)
    answers(images, queries).square().sum().backward()
    assert head.log_scale.grad is not None


def test_logits_by_hand() -> None:
    """Images 1 and -1: the margin is 1 where w = ±1/2, and the scale doubles it."""
    support = LabelledSet(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[0, 1]]), torch.zeros(1))
    head = SVMHead(SVMConfig(slack=5.0, scale=2.0))
    found = head.adapt(support, Target("classes", 2))(torch.tensor([[[1.0], [3.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[1.0, -1.0], [3.0, -3.0]]]))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_image_repeated_is_solved_all_the_same(value: float) -> None:
    images = torch.full((1, 6, 3), value)
    support = LabelledSet(images, torch.tensor([[0, 1, 0, 1, 0, 1]]), torch.zeros(1))
    found = SVMHead(SVMConfig()).adapt(support, Target("classes", 2))(images)
    torch.testing.assert_close(found[..., 0], found[..., 1], rtol=1e-4, atol=1e-4)


def nearly_parallel(n_way: int, n_shot: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``(1, S, 64)`` that differ by a twentieth of their length, as after a ReLU."""
    labels = torch.arange(n_way).repeat(n_shot)
    shared = normal(1, 1, 64, seed=5).abs()
    images = shared + 0.05 * normal(1, len(labels), 64) + 0.02 * normal(1, n_way, 64)[:, labels]
    length = images.square().sum(-1).mean().sqrt()
    return images / length, torch.nn.functional.one_hot(labels, n_way).double()[None]


@pytest.mark.parametrize(("n_way", "n_shot"), [(5, 5), (5, 20), (3, 30)])
@pytest.mark.parametrize("slack", [1.0, 10.0])
def test_nearly_parallel_images_are_solved_to_the_optimum(
    n_way: int, n_shot: int, slack: float
) -> None:
    """Duality: the primal's value is that of the dual at the optimum alone, and above elsewhere."""
    images, wanted = nearly_parallel(n_way, n_shot)
    kernel = images @ images.mT
    duals = svm_duals(kernel, wanted, slack, rounds=SVMConfig().rounds)
    scores = kernel @ duals
    norm = 0.5 * (duals * scores).sum()
    margins = scores + 1 - wanted - (scores * wanted).sum(-1, keepdim=True)
    primal = norm + slack * margins.amax(-1).sum()
    dual = (duals * wanted).sum() - norm
    assert 0 <= primal - dual + 1e-9 * primal < 1e-8 * primal


def test_rounds_end_at_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round where embeddings are longer than the support; a few where nearly parallel."""
    found: list[int] = []
    solve = svm._on_face

    def counted(*given: Any) -> torch.Tensor:
        found.append(1)
        return solve(*given)

    monkeypatch.setattr(svm, "_on_face", counted)
    for (images, wanted), most in ((task(5, 5, 64), 1), (nearly_parallel(5, 20), 3)):
        found.clear()
        svm_duals(images @ images.mT, wanted, 1.0, rounds=1000)
        assert len(found) <= most + 1  # the last is differentiated


def test_the_gradient_of_nearly_parallel_images() -> None:
    """Against differences along a direction."""
    images, wanted = nearly_parallel(5, 5)
    head = SVMHead(SVMConfig()).double()
    queries = nearly_parallel(5, 4)[0]
    weights, along = normal(1, 20, 5, seed=6), normal(1, 25, 64, seed=7)

    def total(moved: torch.Tensor) -> torch.Tensor:
        support = LabelledSet(moved, wanted.argmax(-1), torch.zeros(1))
        return (head.adapt(support, Target("classes", 5))(queries) * weights).sum()

    given = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(given), given)
    with torch.no_grad():
        slope = (total(images + 1e-6 * along) - total(images - 1e-6 * along)) / 2e-6
    torch.testing.assert_close((gradient * along).sum(), slope, rtol=1e-4, atol=0)
