"""Gradient descent within a task, on weights that are values: what all gradient learners share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
LossOfWeights = Callable[[Weights], Tensor]
Update = Callable[[Weights, Weights, int], Weights]


def descend(
    loss: LossOfWeights, start: Mapping[str, Tensor], update: Update, steps: int
) -> Weights:
    """Weights after some steps from ``start``; ``start`` is left as it is.

    ``loss`` is a scalar function of the weights, ``update(weights, gradients, step)`` gives the
    next weights. Differentiable with respect to ``start``; works under ``no_grad``.

    >>> halve = lambda w, g, step: {"x": w["x"] - 0.25 * g["x"]}
    >>> descend(lambda w: w["x"] ** 2, {"x": torch.tensor(8.0)}, halve, 3)["x"]
    tensor(1.)
    """
    gradient = torch.func.grad(loss)
    weights = dict(start)
    for step in range(steps):
        weights = update(weights, gradient(weights), step)
    return weights


def fixed_rate(rate: float, *, first_order: bool) -> Update:
    """``w - rate · g``; with ``first_order`` the gradient counts as a constant."""

    def update(weights: Weights, gradients: Weights, step: int) -> Weights:
        return {
            name: weight - rate * (gradients[name].detach() if first_order else gradients[name])
            for name, weight in weights.items()
        }

    return update


def trainable_weights(network: nn.Module) -> Weights:
    """The network's own parameters by name, not copies."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}
