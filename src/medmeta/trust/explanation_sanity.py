"""Whether a map comes from what was learned: it must change when the weights are randomised."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.errors import UnsupportedTaskError
from medmeta.evaluation.cores import is_light, on_one_core
from medmeta.learner import AdaptedTask, adapt_task, name_of
from medmeta.trust.explanation import answers_of, occlusion_maps

Mapped = Callable[..., NDArray[np.float32]]


@dataclass(frozen=True)
class WeightCheck:
    """Rank correlation ``(Q,)`` of each map with that of the same task and random weights.

    Near 1, the map shows the image and not what was learned. NaN where a map is the same
    everywhere.
    """

    correlation: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Over the images whose correlation is known; NaN where none is."""
        known = self.correlation[np.isfinite(self.correlation)]
        return float(known.mean()) if known.size else float("nan")


def check_weights_matter(
    task: AdaptedTask,
    images: Tensor,
    *,
    seed: int,
    maps: Mapped = occlusion_maps,
    classes: Tensor | None = None,
    known: NDArray[np.float32] | None = None,
) -> WeightCheck:
    """Compare maps with those of the learner with shuffled weights (Adebayo et al. 2018).

    The ``classes`` ``(Q,)`` that are explained are by default the answers of the whole learner;
    ``known`` are its maps of them ``(Q, *space)``, where they were made already. Raises
    ``UnsupportedTaskError`` for a learner without weights.
    """
    classes = answers_of(task, images) if classes is None else classes
    other = randomised(task, seed=seed)
    before = maps(task, images, classes=classes) if known is None else known
    return WeightCheck(rank_correlation(before, maps(other, images, classes=classes)))


def randomised(task: AdaptedTask, *, seed: int) -> AdaptedTask:
    """The same task learned from the same support by a learner whose weights are shuffled.

    Each parameter keeps its entries, in a random order, so that sizes stay as they were. The
    learner of ``task`` is left as it is.
    """
    learner = copy.deepcopy(task.learner)
    weights = [p for p in learner.parameters() if p.numel() > 1]
    if not weights:
        raise UnsupportedTaskError(
            f"{name_of(learner)} has no weights to randomise: its maps are all of the images."
        )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights:
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
        with on_one_core(is_light(learner, task.support.n_examples)):
            return adapt_task(learner, task.support, task.target)


def rank_correlation(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Spearman's correlation of each pair of maps ``(Q, *space)``, ``(Q,)``.

    >>> maps = np.array([[1.0, 2.0, 3.0]], dtype=np.float32)
    >>> rank_correlation(maps, maps[:, ::-1]).round(6).tolist()
    [-1.0]
    """
    ranks = [_ranks(m.reshape(len(m), -1)) for m in (first, second)]
    centred = [r - r.mean(1, keepdims=True) for r in ranks]
    lengths = [np.linalg.norm(c, axis=1) for c in centred]
    dot, size = (centred[0] * centred[1]).sum(1), lengths[0] * lengths[1]
    whole = np.isfinite(first).reshape(len(first), -1).all(1)
    whole &= np.isfinite(second).reshape(len(second), -1).all(1) & (size > 0)
    correlation = np.full(len(dot), np.nan)
    return np.asarray(np.divide(dot, size, out=correlation, where=whole))


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Ranks within each row ``(Q, n)``, from 1; what is equal shares the mean of its ranks.

    As of ``scipy.stats.rankdata``, without the second that it takes to import.

    >>> _ranks(np.array([[0.5, 0.1, 0.5]], dtype=np.float32)).tolist()
    [[2.5, 1.0, 2.5]]
    """
    found = []
    for row in values:
        _, place, counts = np.unique(row, return_inverse=True, return_counts=True)
        found.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    return np.stack(found) if found else np.zeros(values.shape)
