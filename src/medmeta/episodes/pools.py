"""The images of each class, with what links them, prepared once so that drawing is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medmeta.data.groups import linked_groups, repeated_rows
from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.episodes.protocol import Protocol
from medmeta.errors import SamplingError


@dataclass(frozen=True)
class ClassPool:
    """The images of one class (or all images of a source of values).

    ``rows`` ``(n,)`` of the source; ``groups`` ``(n,)``: images that share a patient or a picture
    have the same; ``singles``: no image of the source shares any, so drawing need not look. Of the
    images that hold a structure: ``value`` marks it in the masks of the ``family`` it belongs to.
    """

    name: str
    rows: NDArray[np.int64]
    groups: NDArray[np.int64]
    singles: bool
    value: int = 0
    family: int = -1

    def some(self, shot: int, n_query: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Enough different places at random, with some to spare where patients may collide."""
        wanted = shot + n_query if self.singles else 2 * (shot + n_query) + 8
        return random.choice(len(self.rows), min(wanted, len(self.rows)), replace=False)

    def by_whole_groups(self, random: np.random.Generator) -> NDArray[np.int64]:
        """All places, group after group in random order: the first images share few groups."""
        names, inverse = np.unique(self.groups, return_inverse=True)
        rank = random.permutation(len(names))[inverse]
        return np.lexsort((random.permutation(len(self.rows)), rank)).astype(np.int64)

    def feasible(self, shot: int, n_query: int) -> bool:
        """Whether support and query can be had from different groups."""
        if self.singles:
            return len(self.rows) >= shot + n_query
        sizes = np.sort(np.unique(self.groups, return_counts=True)[1])
        left = int(sizes.sum()) - np.cumsum(sizes)[np.cumsum(sizes) >= shot]
        if len(left) and int(left[0]) >= n_query:
            return True  # the smallest groups for support
        most = int(sizes.sum()) - n_query
        if most < shot:
            return False
        # Few groups are left, and some of them may fit better: bit s of sums, some make s images.
        sums = 1
        for size in sizes.tolist():
            sums |= (sums << size) & ((2 << most) - 1)
        return bool(sums >> shot)


def class_pools(
    source: Source, protocol: Protocol
) -> tuple[tuple[ClassPool, ...], tuple[ClassPool, ...]]:
    """Pools large enough for the protocol, and those too small, by class name."""
    index = source.index
    if protocol.kind == "values":
        if index.values is None:
            raise SamplingError(
                f"{source.name} has classes, not values; leave out --target values."
            )
        rows, parts = np.arange(len(index)), {source.name: slice(None)}
    elif protocol.kind == "masks":
        return _parted(structure_pools(source, _groups(source, protocol)), protocol)
    else:
        if index.labels is None:
            has, use = ("masks", "masks") if index.values is None else ("values", "values")
            raise SamplingError(f"{source.name} has {has}, not classes; use --target {use}.")
        rows, parts = _by_class(index.labels)
    groups = _groups(source, protocol)
    # Where no two images are linked, their rows tell them apart as well, and cost nothing more.
    grouped = rows if groups is None else groups[rows]
    pools = [
        ClassPool(name, rows[part], grouped[part], singles=groups is None)
        for name, part in parts.items()
    ]
    return _parted(pools, protocol)


def structure_pools(source: Source, groups: NDArray[np.int64] | None) -> list[ClassPool]:
    """The images that hold each structure; raises ``SamplingError`` for a source without masks.

    Where rows have a ``family`` (several small data sets in one file), a value of the masks means
    another structure in each.
    """
    if source.masks is None:
        raise SamplingError(f"{source.name} has no masks; leave out --target masks.")
    family, marked = source.index.column("family"), source.marked
    pools = []
    for code in np.unique(family.codes).tolist():
        mine = family.codes == code
        values = [v for v in range(1, marked.shape[1]) if marked[mine, v].any()]
        for value in values:
            rows = np.flatnonzero(mine & marked[:, value])
            name = source.index.structures[value - 1]
            if code >= 0:
                one = family.names[code]
                name = one if len(values) == 1 else f"{one}: {name}"
            grouped = rows if groups is None else groups[rows]
            pools.append(ClassPool(name, rows, grouped, groups is None, value, code))
    return pools


def _parted(
    pools: list[ClassPool], protocol: Protocol
) -> tuple[tuple[ClassPool, ...], tuple[ClassPool, ...]]:
    shot, n_query = protocol.n_shot[1], protocol.n_query
    able = [pool.feasible(shot, n_query) for pool in pools]
    kept = tuple(p for p, ok in zip(pools, able, strict=True) if ok)
    return kept, tuple(p for p, ok in zip(pools, able, strict=True) if not ok)


def _by_class(labels: Column) -> tuple[NDArray[np.int64], dict[str, slice]]:
    """All rows, class after class, and where each class lies that has any.

    One array, of which pools are views: large ones lie in large pages, so that what is drawn from
    ten million rows is found as fast as in ten thousand.
    """
    few = len(labels.names) < 2**15
    codes = labels.codes.astype(np.int16) if few else labels.codes  # short ones sort in linear time
    order = np.argsort(codes, kind="stable").astype(np.int64, copy=False)
    ends = np.searchsorted(codes[order], np.arange(len(labels.names) + 1, dtype=codes.dtype))
    parts = zip(labels.names, pairwise(ends.tolist()), strict=True)
    return order, {name: slice(*ends) for name, ends in parts if ends[0] < ends[1]}


def _groups(source: Source, protocol: Protocol) -> NDArray[np.int64] | None:
    """The group of each row, by patients and pictures or pictures only; None where none is shared.

    Slices of one volume are one group in any case. A source remembers the former: they are the
    same for every protocol.
    """
    if protocol.patient_disjoint:
        shared = int(source.groups.max(initial=-1)) + 1 < len(source)
        return source.groups if shared else None
    if source.volumes is not None:
        return linked_groups(np.full(len(source), -1, np.int32), source.hashes, source.volumes)
    if not len(repeated_rows(source.hashes)):
        return None
    return np.unique(source.hashes, return_inverse=True)[1].astype(np.int64, copy=False)


def refuse_small_pools(
    source: Source, small: tuple[ClassPool, ...], protocol: Protocol, *, n_left: int
) -> None:
    """Raise ``SamplingError`` for classes too small, unless the protocol leaves them out."""
    if not small or (protocol.drop_small_classes and n_left):
        return
    shot, n_query = protocol.n_shot[1], protocol.n_query
    pool = min(small, key=lambda p: len(p.rows))
    images, groups = len(pool.rows), len(np.unique(pool.groups))
    needed = f"{shot} support + {n_query} query = {shot + n_query}"
    kinds = {"classes": "class", "masks": "structure"}
    what = f"{kinds[protocol.kind]} {pool.name!r}" if protocol.kind in kinds else "the source"
    if images < shot + n_query:
        problem = f"{what} has {images} image{'' if images == 1 else 's'}; a task needs {needed}"
    else:
        problem = (
            f"{what} has {images} images of only {groups} patient{'' if groups == 1 else 's'} or "
            f"pictures; support and query share neither, and a task needs {needed}"
        )
    others = f" (and {len(small) - 1} more such classes)" if len(small) > 1 else ""
    raise SamplingError(
        f"{source.name}: {problem}{others}. Ask for fewer shots or queries (--query), add images, "
        "or leave such classes out with --drop-small."
    )
