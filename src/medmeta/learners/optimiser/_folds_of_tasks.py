"""Folds of many tasks at once, by arithmetic alone: nothing waits for a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from medmeta.episode import LabelledSet


class Fold(NamedTuple):
    """Which images are learned from ``(T, n)`` and which are left out ``(T, m)``.

    With groups also what each image ``(T, N)`` counts on either side: those learned from sum to
    1, those left out to 1 over all folds. Without, all on a side count alike.
    """

    learned_from: Tensor
    left_out: Tensor
    learned_shares: Tensor | None = None
    left_out_shares: Tensor | None = None


def folds_of_tasks(labelled: LabelledSet, n_support: int, folds: int) -> Iterator[Fold]:
    """The folds of tasks whose first ``n_support`` images are their support."""
    if labelled.groups is not None:
        return grouped_folds(labelled.labels, labelled.groups, n_support, folds)
    return (Fold(*parts) for parts in stratified_folds(labelled.labels, folds))


def stratified_folds(labels: Tensor, folds: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each fold, which examples are learned from ``(T, N - n)`` and which left out ``(T, n)``.

    Of ``labels`` ``(T, N)`` classes, or ``(T, N, size)`` values. Examples in the order of their
    labels are dealt out in turn: folds differ by one example at most, and so do their shares of
    each class, whatever its number of images; values are spread likewise. At most ``N`` folds.

    >>> [left.tolist() for _, left in stratified_folds(torch.tensor([[0, 1, 2, 0, 1, 2]]), 2)]
    [[[0, 1, 2]], [[3, 4, 5]]]
    """
    order = _ranked(labels).argsort(dim=1, stable=True)
    count = min(folds, order.shape[1])
    for fold in range(count):
        left_out = order[:, fold::count]
        # The places that are not dealt to this fold, by arithmetic: a mask would wait for a GPU.
        kept = torch.arange(order.shape[1] - left_out.shape[1], device=labels.device)
        round_, place = kept // max(1, count - 1), kept % max(1, count - 1)
        yield order[:, round_ * count + place + (place >= fold)], left_out


def grouped_folds(labels: Tensor, groups: Tensor, n_support: int, folds: int) -> Iterator[Fold]:
    """The same with whole ``groups`` ``(T, N)`` dealt out, so that none is on both sides.

    Sides have as many places as without groups. Where a side has fewer images, some fill two
    places and count once; where it has more, the classes' last images have no place.
    """
    n, rank = labels.shape[1], _ranked(labels)
    count = min(folds, n)
    own = fold_of_each(labels, groups, n_support, count)
    sizes = [len(range(fold, n, count)) for fold in range(count)]
    sides = [_listed(own == fold, rank, size) for fold, size in enumerate(sizes)]
    answered = torch.stack([held for _, _, held in sides]).sum(0).clamp(min=1)
    for fold, (left_out, shares, held) in enumerate(sides):
        learned_from, learned_shares, _ = _listed(own != fold, rank, n - sizes[fold])
        yield Fold(learned_from, left_out, learned_shares, shares * held / answered)


def fold_of_each(labels: Tensor, groups: Tensor, n_support: int, count: int) -> Tensor:
    """The fold ``(T, N)`` of each image; images of a group share it.

    Groups are dealt out in turn, in the order of the class (of values, the mean) of their images,
    the large ones of a class first. Where a fold would leave a class, or all, without an image to
    learn from, the task's support is the first fold and its query the second.

    >>> labels = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]])
    >>> fold_of_each(labels, torch.tensor([[7, 3, 7, 3, 4, 9, 9, 4]]), 4, 2)
    tensor([[0, 1, 0, 1, 0, 1, 1, 0]])
    """
    n, classes = labels.shape[1], labels.ndim == 2
    places, rank = torch.arange(n, device=labels.device), _ranked(labels)
    alike = groups[:, :, None] == groups[:, None]
    first, size = places.where(alike, n).amin(2), alike.sum(2)
    of_group = rank.gather(1, first) if classes else (alike * rank[:, None]).sum(2) / size
    order = (-size).argsort(dim=1, stable=True)
    for key in (of_group, (first != places).long()):  # the last sorted by comes first
        order = order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))
    dealt = order.argsort(1).gather(1, first) % count  # by the first image of each group
    kinds = rank if classes else torch.zeros_like(rank)
    of_own_kind = kinds[:, :, None] == kinds[:, None]
    learned = of_own_kind & (dealt[:, :, None] != dealt[:, None])
    return dealt.where(learned.any(2).all(1, keepdim=True), (places >= n_support).long())


def _ranked(labels: Tensor) -> Tensor:
    """What images are ordered by, ``(T, N)``: the class, or the mean of the values."""
    return labels if labels.ndim == 2 else labels.mean(2)


def _listed(chosen: Tensor, rank: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """``size`` places filled with the images ``chosen`` ``(T, N)``, in turn from each class.

    What an image counts ``(T, N)`` at each of its places, so that all together count 1; and how
    many different ones there are, ``(T, 1)``, which may be none.
    """
    n = chosen.shape[1]
    places = torch.arange(n, device=chosen.device)
    before = chosen[:, None] & (rank[:, :, None] == rank[:, None]) & (places < places[:, None])
    order = before.sum(2).where(chosen, n).argsort(dim=1, stable=True)
    held = chosen.sum(1, keepdim=True).clamp(max=size)
    listed = order.gather(1, places[:size] % held.clamp(min=1))
    filled = (listed[:, None] == places[:, None]).sum(2)
    shares = (filled > 0).double() / (filled * held).clamp(min=1)
    return listed, shares * (held > 0), held
