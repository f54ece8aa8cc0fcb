"""Parting patients between support and query, where leaving it to chance has failed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

ATTEMPTS = 100
ORDERS = 8


def part_groups(
    groups: Sequence[NDArray[np.int64]], shot: int, n_query: int, random: np.random.Generator
) -> tuple[list[Places], list[Places]] | None:
    """Support and query places of each class, no group on both sides; None where none is found.

    ``groups`` are those of the images of each class, ``(n,)``; a class may share them with
    another. Unlike a draw that is checked afterwards, each group is only given to the support
    where every class keeps enough images for its query.

    >>> halves = [np.array([0, 0, 1]), np.array([1, 2, 2])]
    >>> support, query = part_groups(halves, 1, 2, np.random.default_rng(0))
    >>> support[0].tolist(), sorted(query[0].tolist()), support[1].tolist()
    ([2], [0, 1], [0])
    """
    names, codes = np.unique(np.concatenate(groups), return_inverse=True)
    parts = np.split(codes, np.cumsum([len(g) for g in groups])[:-1])
    counts = np.stack([np.bincount(part, minlength=len(names)) for part in parts])
    for _ in range(ATTEMPTS):
        side = _support_side(counts, shot, n_query, random)
        if side is not None:
            supports = [random.permutation(np.flatnonzero(side[p]))[:shot] for p in parts]
            queries = [random.permutation(np.flatnonzero(~side[p]))[:n_query] for p in parts]
            return supports, queries
    return None


def _support_side(
    counts: NDArray[np.int64], shot: int, n_query: int, random: np.random.Generator
) -> NDArray[np.bool_] | None:
    """``(G,)``: the groups that give the support, from images by class and group ``(N, G)``."""
    side = np.zeros(counts.shape[1], dtype=bool)
    for number in random.permutation(len(counts)):
        for _ in range(ORDERS):
            chosen = _enough_for(number, side, counts, shot, n_query, random)
            if chosen is not None:
                break
        else:
            return None
        side = chosen
    return side


def _enough_for(
    number: int,
    side: NDArray[np.bool_],
    counts: NDArray[np.int64],
    shot: int,
    n_query: int,
    random: np.random.Generator,
) -> NDArray[np.bool_] | None:
    """``side`` with groups added in random order until one class has its support."""
    side = side.copy()
    had = counts[number, side].sum()
    left = counts[:, ~side].sum(1)
    for group in random.permutation(np.flatnonzero(~side & (counts[number] > 0))):
        if had >= shot:
            break
        if (left - counts[:, group] >= n_query).all():
            side[group] = True
            had += counts[number, group]
            left = left - counts[:, group]
    return side if had >= shot else None
