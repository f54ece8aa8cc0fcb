"""Which structures a task of masks asks for, and which images it is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medmeta.episodes.pools import ClassPool

BACKGROUND = "background"


def most_together(pools: Sequence[ClassPool]) -> int:
    """How many structures of one family a source has at most."""
    families = [pool.family for pool in pools]
    return max((families.count(family) for family in set(families)), default=0)


def share(pools: Sequence[ClassPool]) -> float:
    """How often a source is drawn from: by the cube root of its number of structures.

    A collection of hundreds is drawn more often than a data set of one, and leaves it its part.
    """
    return float(np.cbrt(len(pools)))


def draw_structures(
    pools: Sequence[ClassPool], n: int, random: np.random.Generator
) -> tuple[ClassPool, ...]:
    """``n`` structures of one family, in random order; families by their structures' number."""
    families = [pool.family for pool in pools]
    first = [pool for pool in pools if families.count(pool.family) >= n]
    family = first[random.integers(len(first))].family
    own = [pool for pool in pools if pool.family == family]
    return tuple(own[i] for i in random.choice(len(own), n, replace=False))


def images_of(chosen: Sequence[ClassPool], shot: int, n_query: int) -> ClassPool:
    """Images that hold all structures of a task, or where these are too few, any of them."""
    if len(chosen) == 1:
        return chosen[0]
    rows, counts = np.unique(np.concatenate([p.rows for p in chosen]), return_counts=True)
    groups = dict(
        zip(
            np.concatenate([p.rows for p in chosen]).tolist(),
            np.concatenate([p.groups for p in chosen]).tolist(),
            strict=True,
        )
    )
    for kept in (rows[counts == len(chosen)], rows):
        linked = np.array([groups[row] for row in kept.tolist()], dtype=np.int64)
        pool = replace(chosen[0], name=", ".join(p.name for p in chosen), rows=kept, groups=linked)
        if pool.feasible(shot, n_query):
            break
    return pool


def task_labels(
    masks: NDArray[np.uint8], values: Sequence[int], *, unlabelled: int = 255
) -> NDArray[np.int64]:
    """Masks as a task's labels: its structures are 1, 2, ..., all else is background, -1 unknown.

    >>> task_labels(np.array([0, 3, 5, 255], np.uint8), [5, 3]).tolist()
    [0, 2, 1, -1]
    """
    table = np.zeros(256, dtype=np.int64)
    table[unlabelled] = -1
    table[list(values)] = np.arange(1, len(values) + 1)
    return table[masks]
