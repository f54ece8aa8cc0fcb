"""Pictures with masks as a source: found, paired, read, and kept as the pictures are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import SourceIndex
from medmeta.data.mask_archive import read_masked_archive
from medmeta.data.mask_shape import prepare_mask
from medmeta.data.npz import Pictures
from medmeta.data.preprocess import Preprocessing
from medmeta.data.slices import as_slices
from medmeta.data.source import Source
from medmeta.data.sources import ScannedSource, read_scanned
from medmeta.data.store import Decoded, open_store, store_key
from medmeta.errors import DataError

ReadMasks = Callable[[SourceIndex], Iterator[NDArray[np.uint8]]]
"""The masks of a table's rows, in order; raises ``DataError`` that names the mask."""


@dataclass(frozen=True)
class MaskedScan:
    """Pictures that were listed, and how their masks are read; ``files`` are the masks' own."""

    found: ScannedSource
    read: ReadMasks
    files: tuple[Path, ...]


def open_mask_source(
    path: Path,
    *,
    preprocessing: Preprocessing,
    cache: Path | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """List and decode pictures with their masks.

    ``path`` is an npz. Raises ``DataError`` that names the picture or the mask.
    """
    scanned = _survey(path)
    source = read_scanned(
        scanned.found,
        preprocessing=preprocessing,
        cache=cache,
        skip_bad=skip_bad,
        progress=progress,
    )
    index = as_slices(scanned.found.index, preprocessing)
    flat = preprocessing.model_copy(update={"channels": 1})
    files = (path.resolve(), *scanned.files)
    store = open_store(
        f"masks-{store_key(files, flat)}", len(index), flat, _decoder(scanned, index, flat),
        cache=cache,
    )  # fmt: skip
    return replace(source, masks=store.pixels[:, 0])


def _survey(path: Path) -> MaskedScan:
    if path.suffix.lower() == ".npz":
        archive = read_masked_archive(path)
        kind: Literal["npz"] = "npz"
        found = ScannedSource(archive.index, archive.images, kind, path)
        return MaskedScan(found, lambda index: _from_archive(archive.masks, index), ())
    raise DataError(f"{path}: is no source of images with masks.")


def _from_archive(masks: Pictures, index: SourceIndex) -> Iterator[NDArray[np.uint8]]:
    del index  # the rows of an npz are its masks, in order
    yield from masks


def _decoder(
    scanned: MaskedScan, index: SourceIndex, preprocessing: Preprocessing
) -> Callable[[Sequence[int]], Generator[Decoded, None, None]]:
    def decode(rows: Sequence[int]) -> Generator[Decoded, None, None]:
        wanted = set(rows)
        for row, mask in enumerate(scanned.read(index)):
            if row in wanted:
                yield Decoded(prepare_mask(mask, preprocessing)[None])

    return decode
