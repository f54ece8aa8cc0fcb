"""Heads in closed form, of many folds at once, by the kernel of the images alone."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 30
SCALES = {"centroid": 8.0, "lda": 8.0, "ridge": 8.0, "logistic": 1.0, "kernel": 8.0}
"""From a head's outputs to logits, before a temperature is fitted."""

Solved = tuple[Tensor, Tensor]
"""Coefficients ``(..., S, K)`` and constants ``(..., K)``: ``kernel(queries, S) A + b``."""


def solve(head: str, penalty: float, kernel: Tensor, wanted: Tensor, mask: Tensor) -> Solved:
    """A head's answer to tasks of classes: logits are linear in the kernel.

    ``kernel`` ``(..., S, S)`` of all images, one-hot ``wanted`` ``(..., S, K)``; ``mask``
    ``(..., S)`` is 1 for those that are learned from, and every class has one of them. The others
    get coefficients of 0. Classes count alike, however many images they have (but for logistic).
    """
    shown = wanted * mask[..., None]
    if head in ("ridge", "kernel"):
        counts = shown.sum(-2, keepdim=True)
        weights = (shown / counts.clamp(min=1)).sum(-1) * mask.sum(-1, keepdim=True)
        weights = weights / wanted.shape[-1]
        coefficients, constants = ridge(kernel, wanted - 1 / wanted.shape[-1], weights, penalty)
    elif head == "logistic":
        coefficients, constants = logistic(kernel, shown, mask, penalty)
    else:
        coefficients, constants = discriminant(kernel, shown, penalty)
    return coefficients * SCALES[head], constants * SCALES[head]


def ridge(kernel: Tensor, wanted: Tensor, weights: Tensor, penalty: float) -> Solved:
    """``argmin Σ wᵢ ‖f(xᵢ) - yᵢ‖² + λ ‖f‖²``, with a constant that is penalised alike.

    On the Gaussian kernel it is the least-squares support vector machine (Suykens and Vandewalle
    1999). With one image of squared length 0 and λ = 1 the constant answers half of what it saw:

    >>> a, b = ridge(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1), 1.0)
    >>> b
    tensor([0.5000])
    """
    root = weights.sqrt()[..., None]
    system = root * (kernel + 1) * root.mT
    system = system + penalty * _unit(system)
    factor = torch.linalg.cholesky(system)
    coefficients = root * torch.cholesky_solve(root * wanted, factor)
    return coefficients, coefficients.sum(-2)


def discriminant(kernel: Tensor, shown: Tensor, penalty: float) -> Solved:
    """Linear discriminant analysis with the covariance ``W + γ I``; of γ = 0, nearest centroid.

    W is the covariance within classes. Logits are ``-γ/2 (x - m)' (W + γ I)⁻¹ (x - m)`` but for
    what all classes have in common, so that of large γ too they are those of the centroids m. By
    the kernel alone: ``γ (W + γ I)⁻¹ = I - C' (n γ I + C C')⁻¹ C``, where C are the images less
    their class's mean (Woodbury).
    """
    means = (shown / shown.sum(-2, keepdim=True).clamp(min=1)).mT  # (..., K, S)
    coefficients = means.mT
    if penalty > 0:
        mask = shown.sum(-1)
        centred = torch.diag_embed(mask) - shown @ means
        products = centred @ kernel @ centred.mT
        size = mask.sum(-1)[..., None, None] * penalty
        system = products + size * _unit(products)
        factor = torch.linalg.cholesky(system)
        across = torch.cholesky_solve(centred @ kernel @ means.mT, factor)
        coefficients = means.mT - centred.mT @ across
    lengths = (means @ kernel * coefficients.mT).sum(-1)
    return coefficients, -0.5 * lengths


def logistic(kernel: Tensor, shown: Tensor, mask: Tensor, penalty: float) -> Solved:
    """Multinomial logistic regression with a penalised constant.

    ``argmin Σ CE + λ/2 ‖f‖²`` by ``STEPS`` minima of a quadratic bound (Böhning 1992), whose one
    matrix is factored once: ``A = (K + 2 λ I)⁻¹ (f - 2 (p - y))``, where f are the logits so far
    and p their softmax.
    """
    both = mask[..., None] * (kernel + 1) * mask[..., None, :]
    factor = torch.linalg.cholesky(both + 2 * penalty * _unit(both))
    logits = torch.zeros_like(shown)
    coefficients = logits
    for _ in range(STEPS):
        aim = logits - 2 * (logits.softmax(-1) - shown) * mask[..., None]
        coefficients = torch.cholesky_solve(aim, factor)
        logits = both @ coefficients
    return coefficients * mask[..., None], (coefficients * mask[..., None]).sum(-2)


def _unit(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def solve_values(penalty: float, kernel: Tensor, wanted: Tensor, mask: Tensor) -> Solved:
    """Ridge to values ``(..., S, size)``."""
    return ridge(kernel, wanted, mask, penalty)
