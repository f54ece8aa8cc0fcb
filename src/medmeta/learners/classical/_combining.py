"""How answers of several members become one."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

EM_STEPS = 200
HEAVY = 1e4  # how much more than an answer the sum of the weights counts
PRIOR_IMAGES = 10.0  # how many images left out weigh as much as the belief that all are as good


def votes(probabilities: Tensor) -> Tensor:
    """One for each row's likeliest class: ``(..., N)`` of the same shape.

    >>> import torch
    >>> votes(torch.tensor([[0.2, 0.8], [0.7, 0.3]]))
    tensor([[0., 1.],
            [1., 0.]])
    """
    return F.one_hot(probabilities.argmax(-1), probabilities.shape[-1]).to(probabilities.dtype)


def stacked_class_weights(probabilities: np.ndarray) -> np.ndarray:
    """Weights ``(M,)`` that add to 1 and make left-out images likeliest.

    ``probabilities`` ``(M, S)`` that each member gives to the true class of images that it has not
    learned from. The maximum of ``Σ log Σ wₘ pₘ + 10 · mean log wₘ``, which is concave, by
    expectation-maximisation: of two images little is learned about members, of hundreds all.
    Wolpert 1992, with weights as by Breiman 1996.

    >>> stacked_class_weights(np.full((2, 90), [[1.0], [0.0]])).round(3)
    array([0.95, 0.05])
    """
    n_members, n_images = probabilities.shape
    weights = np.full(n_members, 1 / n_members)
    for _ in range(EM_STEPS):
        parts = weights[:, None] * np.maximum(probabilities, 1e-12)
        counts = (parts / parts.sum(0)).sum(1) + PRIOR_IMAGES / n_members
        weights = counts / (n_images + PRIOR_IMAGES)
    return weights


def stacked_value_weights(answers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weights ``(M,)`` that add to 1 and bring left-out answers ``(M, S)`` nearest ``values``.

    Breiman 1996, stacked regressions: least squares with weights that are not negative. That they
    add to 1 is one more equation, so heavy that no other bends it.

    >>> stacked_value_weights(np.array([[1.0, 2.0], [5.0, -5.0]]), np.array([1.0, 2.0])).round(3)
    array([1., 0.])
    """
    from scipy.optimize import nnls

    largest = max(np.abs(answers).max(), np.abs(values).max())
    heavy = HEAVY * (largest or 1.0)
    equations = np.vstack([answers.T, np.full(len(answers), heavy)])
    weights = np.asarray(nnls(equations, np.append(values, heavy))[0])
    return np.asarray(weights / weights.sum())
