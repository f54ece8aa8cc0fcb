"""Which images to label next: unlike each other, unlike what is labelled, typical of the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
NEIGHBOURS = 10
ALIKE = 0.999  # cosine of embeddings: nearly the same picture


@dataclass(frozen=True)
class Suggestions:
    """Images to label, the most useful first; ``gains`` fall, and are comparable among themselves.

    ``left_out``: how many were passed over as nearly the same as a labelled or a suggested one.
    """

    images: tuple[int, ...]
    gains: tuple[float, ...]
    left_out: int


def suggest(
    labelled: Array, unlabelled: Array, probabilities: Array, n: int, *, alike: float = ALIKE
) -> Suggestions:
    """Up to ``n`` of the unlabelled images, by embeddings and ``probabilities`` ``(U, K)``.

    Greedy: each gain is how much nearer the unlabelled images come to a labelled one (facility
    location, Wei et al. 2015), every image counted by how unsure its answer is (entropy). So an
    image that stands for many that are not covered comes first, and a second one like it does not.
    """
    known, asked = _unit(labelled), _unit(unlabelled)
    centre = known.mean(0) if len(known) else 0.0
    known, asked = _unit(known - centre), _unit(asked - centre)
    likeness = asked @ asked.T
    covered = (asked @ known.T).max(1) if len(known) else np.full(len(asked), -1.0)
    k = probabilities.shape[1]
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(1) / np.log(k)
    weight = 0.5 + 0.5 * entropy
    free = covered < alike
    left_out = int((~free).sum())
    chosen: list[int] = []
    gains: list[float] = []
    while len(chosen) < n and free.any():
        nearer = np.maximum(likeness - covered[:, None], 0)
        gain = np.where(free, weight @ nearer, -np.inf)
        best = int(gain.argmax())
        chosen.append(best)
        gains.append(float(gain[best] / len(asked)))
        covered = np.maximum(covered, likeness[best])
        free[best] = False
        same = free & (likeness[best] >= alike)
        left_out += int(same.sum())
        free &= ~same
    return Suggestions(tuple(chosen), tuple(gains), left_out)


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
