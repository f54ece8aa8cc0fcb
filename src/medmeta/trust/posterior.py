"""The most likely temperature and bias of logits, by Newton's steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BOUND = 12.0  # of the logarithm of a temperature
STEPS = 200
HALVINGS = 40
FLAT = 1e-11


@dataclass(frozen=True)
class Posterior:
    """Of ``softmax(logits exp(-t) + bias)``, with normal priors on ``t`` and on the bias.

    ``logits`` and one-hot ``own`` ``(n, K)``, each answer counting ``weight``; ``centre`` of
    the prior on ``t``, and its ``spreads`` below and above; ``bias_spread`` of that on a class's
    bias, whose mean is 0.
    """

    logits: Array
    own: Array
    weight: float
    centre: float
    spreads: tuple[float, float]
    bias_spread: float

    def most_likely(self, *, with_bias: bool = True) -> tuple[float, Array]:
        """``t`` and the bias ``(K,)`` at which it is largest."""
        k = self.logits.shape[1]
        place = np.zeros(1 + k)
        place[0] = np.clip(self.centre, -2.0, 4.0)
        free = np.eye(1 + k)
        free[1:, 1:] = np.eye(k) - 1 / k if with_bias else 0.0
        value, slope, bend = self.expanded(place)
        for _ in range(STEPS):
            slope, bend = free @ slope, free @ bend @ free
            if np.abs(slope).max() < FLAT:
                break
            step = -_solved(bend, slope)
            for halving in range(HALVINGS):
                new = place + step * 0.5**halving
                new[0] = np.clip(new[0], -BOUND, BOUND)
                found = self.expanded(new)
                if found[0] < value:
                    break
            else:
                break
            place, (value, slope, bend) = new, found
        return float(place[0]), place[1:] - place[1:].mean()

    def expanded(self, place: Array) -> tuple[float, Array, Array]:
        """Minus its logarithm at ``t`` and bias ``(1 + K,)``: value, gradient and curvature."""
        t, bias = place[0], place[1:]
        scaled = self.logits * np.exp(-t)
        z = scaled + bias
        log_p = z - z.max(1, keepdims=True)
        log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
        p = np.exp(log_p)
        gap = (p - self.own) * self.weight
        value = -(log_p * self.own).sum() * self.weight
        spread = self.spreads[int(t > self.centre)]
        value += (t - self.centre) ** 2 / (2 * spread**2)
        value += np.square(bias).sum() / (2 * self.bias_spread**2)
        by_t = -(gap * scaled).sum() + (t - self.centre) / spread**2
        slope = np.concatenate([[by_t], gap.sum(0) + bias / self.bias_spread**2])
        moved = p * ((p * scaled).sum(1, keepdims=True) - scaled)  # of p by t
        bend = np.empty((len(place), len(place)))
        bend[0, 0] = (gap * scaled).sum() - (moved * scaled).sum() * self.weight
        bend[0, 0] += 1 / spread**2
        bend[0, 1:] = bend[1:, 0] = moved.sum(0) * self.weight
        bend[1:, 1:] = (np.diag(p.sum(0)) - p.T @ p) * self.weight
        bend[1:, 1:] += np.eye(len(bias)) / self.bias_spread**2
        return float(value), slope, bend


def _solved(bend: Array, slope: Array) -> Array:
    """Newton's step; where the curvature is not upwards, upwards it is taken to be."""
    values, vectors = np.linalg.eigh(bend)
    values = np.maximum(np.abs(values), 1e-8 * max(1.0, float(np.abs(values).max())))
    return np.asarray(vectors @ ((vectors.T @ slope) / values))
