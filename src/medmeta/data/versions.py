"""A source beside worsened versions of itself, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medmeta.data.source import Source

Alter = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""A picture ``(C, H, W)`` and a seed, its content hash, to a picture of the same shape."""


@dataclass(frozen=True)
class SourceVersions(Source):
    """``n`` images, then each version of them: row ``v * n + i`` is version ``v`` of image ``i``.

    Version 0 is the image as it is; ``alterations[v - 1]`` makes version ``v``, of each image the
    same whenever it is asked for.
    """

    alterations: tuple[Alter, ...] = ()

    @classmethod
    def of(cls, source: Source, alterations: Sequence[Alter]) -> SourceVersions:
        """All versions of a source's images."""
        rows = np.tile(np.arange(len(source)), len(alterations) + 1)
        bare = replace(source.index, paths=(), scans=(), others={})
        index = bare.take(rows)
        shown = source.pixel_rows[rows], source.hashes[rows]
        tables = None if source.table_rows is None else source.table_rows[rows]
        beside = {name: values[rows] for name, values in source.beside.items()}
        return cls(
            index,
            source.pixels,
            *shown,
            source.tables,
            tables,
            beside,
            alterations=tuple(alterations),
        )

    def gather(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Pixels of some rows, ``(*rows.shape, C, H, W)``, altered where their version says so."""
        images = super().gather(rows)
        flat = images.reshape(-1, *images.shape[rows.ndim :])
        n = len(self) // (len(self.alterations) + 1)
        for place, row in enumerate(rows.reshape(-1).tolist()):
            if version := row // n:
                seed = int(self.hashes[row])
                flat[place] = _altered(self.alterations[version - 1], flat[place], seed)
        return images


def _altered(alter: Alter, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """A picture ``(C, H, W)``, or a volume ``(C, D, H, W)`` slice by slice."""
    if image.ndim == 3:
        return alter(image, seed)
    slices = [alter(image[:, number], seed + number) for number in range(image.shape[1])]
    return np.stack(slices, axis=1)
