"""Support images whose label the rest of the support contradicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medmeta.trust.results import Suspect

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
MOST = 20


def suspects(probabilities: Array, labels: Numbers) -> tuple[Suspect, ...]:
    """Images for a second look, the most doubtful first.

    ``probabilities`` ``(R, n, K)`` are held-out and calibrated. Doubt is half of one plus the
    likeliest other class's probability less that of the given one. An image is flagged where
    another class is as probable as it usually is for images of that class, and the given one less
    than it usually is for its own (the confident joint of Northcutt et al. 2021), in most repeats.

    >>> p = np.array([[[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]]])
    >>> [(s.image, s.suggested) for s in suspects(p, np.array([0, 0, 1, 1, 1])) if s.flagged]
    [(4, 0)]
    """
    mean = probabilities.mean(0)
    rows = np.arange(len(labels))
    given = mean[rows, labels]
    others = mean.copy()
    others[rows, labels] = -1
    suggested = others.argmax(1)
    best = others[rows, suggested]
    doubt = (1 + best - given) / 2
    votes = np.mean([_contradicted(p, labels) for p in probabilities], axis=0)
    found = []
    for i in np.argsort(-doubt, kind="stable"):
        flagged = bool(votes[i] > 0.5 and best[i] > given[i])
        if doubt[i] > 0.5 or flagged:
            found.append(
                Suspect(
                    image=int(i),
                    given=int(labels[i]),
                    suggested=int(suggested[i]),
                    probability_given=float(given[i]),
                    probability_suggested=float(best[i]),
                    doubt=float(doubt[i]),
                    flagged=flagged,
                )
            )
    return tuple(sorted(found, key=lambda s: not s.flagged)[:MOST])


def _contradicted(probabilities: Array, labels: Numbers) -> NDArray[np.bool_]:
    """Which images ``(n,)`` another class claims, by each class's own usual confidence."""
    k = probabilities.shape[1]
    usual = np.array(
        [probabilities[labels == c, c].mean() if (labels == c).any() else np.inf for c in range(k)]
    )
    claims = probabilities >= usual
    own = claims[np.arange(len(labels)), labels]
    claims[np.arange(len(labels)), labels] = False
    return np.asarray(claims.any(1) & ~own)
