"""The images of each class, with what links them, prepared once so that drawing is cheap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medmeta.data.source import Source
from medmeta.episodes.protocol import Protocol
from medmeta.errors import SamplingError


@dataclass(frozen=True)
class ClassPool:
    """The images of one class (or all images of a source of values).

    ``rows`` ``(n,)`` of the source; ``groups`` ``(n,)``: images that share a patient or a picture
    have the same; ``singles``: no image of the source shares any, so drawing need not look.
    """

    name: str
    rows: NDArray[np.int64]
    groups: NDArray[np.int64]
    singles: bool

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
    groups = source.groups
    if not protocol.patient_disjoint:
        _, inverse = np.unique(source.hashes, return_inverse=True)
        groups = inverse.astype(np.int64)
    singles = len(np.unique(groups)) == len(groups)
    if protocol.kind == "values":
        if index.values is None:
            raise SamplingError(
                f"{source.name} has classes, not values; leave out --target values."
            )
        everything = ClassPool(source.name, np.arange(len(index)), groups, singles)
        pools = [everything]
    else:
        if index.labels is None:
            raise SamplingError(f"{source.name} has values, not classes; use --target values.")
        order = np.argsort(index.labels.codes, kind="stable")
        codes = index.labels.codes[order]
        ends = np.searchsorted(codes, np.arange(len(index.labels.names) + 1))
        pools = []
        for code, name in enumerate(index.labels.names):
            rows = order[ends[code] : ends[code + 1]].astype(np.int64)
            if len(rows):
                pools.append(ClassPool(name, rows, groups[rows], singles))
    shot, n_query = protocol.n_shot[1], protocol.n_query
    able = [pool.feasible(shot, n_query) for pool in pools]
    kept = tuple(p for p, ok in zip(pools, able, strict=True) if ok)
    return kept, tuple(p for p, ok in zip(pools, able, strict=True) if not ok)


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
    what = "the source" if protocol.kind == "values" else f"class {pool.name!r}"
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
