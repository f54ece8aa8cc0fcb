"""Shares of queries in classes, so that all classes get equally much: optimal transport."""

from __future__ import annotations

import torch
from torch import Tensor

from medmeta.learners.heads._class_blocks import solving_precision

MOST_STEPS, NEAR_ENOUGH, NEAR = 200, 1e-9, 1e-3
DAMPINGS = (0.0, 1e-4, 1e-2, 1.0)  # what is added to the curvature, in units of Q / N


def balancing_offsets(scores: Tensor, start: Tensor) -> Tensor:
    """Offsets ``(T, 1, N)`` with which ``softmax(scores + offsets)`` has even column sums.

    ``scores`` ``(T, Q, N)``; ``start`` ``(T, 1, N)`` is where the search begins. The shares are
    those of Sinkhorn and Knopp 1967, each query's sum 1 and each class's Q / N. Their scaling
    takes thousands of rounds where shares are nearly 0 and 1, so Newton's steps on the dual problem
    are tried beside each round, and the best is taken. Each task stops by itself, so that no task
    depends on another. Differentiable as the solution is (implicitly).

    >>> offsets = balancing_offsets(torch.tensor([[[0.0, 0.0], [0.0, 9.0]]]), torch.zeros(1, 1, 2))
    >>> float(offsets[0, 0, 0] - offsets[0, 0, 1])
    4.5
    """
    exact = solving_precision(scores)
    with torch.no_grad():
        offsets = solving_precision(start)
        for _ in range(MOST_STEPS):
            gaps = _surplus(exact, offsets).abs().amax(2)[..., None]
            moving = gaps > NEAR_ENOUGH * scores.shape[1]
            if not bool(moving.any()):
                break
            offsets = torch.where(moving, _best_step(exact, offsets, gaps), offsets)
    if torch.is_grad_enabled() and scores.requires_grad:
        slope = _newton_step(exact, offsets, 0.0)
        offsets = offsets + (slope - slope.detach())
    return offsets.to(scores.dtype)


def _surplus(scores: Tensor, offsets: Tensor) -> Tensor:
    """By how much each column's sum is too large, ``(..., 1, N)``."""
    shares = (scores + offsets).softmax(-1)
    return shares.sum(-2, keepdim=True) - scores.shape[-2] / scores.shape[-1]


def _best_step(scores: Tensor, offsets: Tensor, gaps: Tensor) -> Tensor:
    """The best of a round of scaling and of Newton steps damped in several ways.

    By the dual's value, or near its end, where that is lost in rounding, by the largest surplus.
    """
    scaled = offsets - (scores + offsets).log_softmax(2).logsumexp(1, keepdim=True)
    newton = [offsets + _newton_step(scores, offsets, damping) for damping in DAMPINGS]
    tried = torch.stack([*newton, scaled])
    tried = tried - tried.mean(-1, keepdim=True)  # a common offset changes nothing
    even = scores.shape[1] / scores.shape[2]
    values = (scores + tried).logsumexp(-1).sum(-1) - even * tried.sum((-1, -2))
    largest = _surplus(scores, tried).abs().amax((-1, -2))
    worth = torch.where(gaps[:, 0, 0] > NEAR, values, largest)
    best = worth.nan_to_num(nan=torch.inf).argmin(0)
    return tried[best, torch.arange(len(scores), device=scores.device)]


def _newton_step(scores: Tensor, offsets: Tensor, damping: float) -> Tensor:
    """Newton's step on the convex dual, ``Σ logsumexp(scores + o) - Q/N Σ o``."""
    surplus = _surplus(scores, offsets)
    known = (scores + offsets).softmax(2).detach()
    n_query, n_way = scores.shape[1:]
    curvature = torch.diag_embed(known.sum(1)) - known.mT @ known
    # Along a common offset it is flat; 1 / N there keeps it invertible and moves nothing.
    ridge = (1e-12 + damping * n_query / n_way) * torch.eye(n_way).to(known)
    step: Tensor = torch.linalg.solve(curvature + 1 / n_way + ridge, surplus.mT)
    return -step.mT
