"""An npz of pictures with masks as a source.

It holds ``images`` and ``masks`` uint8 ``(n, H, W)``, 0 background, 1 and on structures, 255 not
labelled; ``structure_names`` ``(K,)`` where they have names. Several small data sets may lie in
one file: ``task`` ``(n,)`` says of which each picture is, ``task_names`` what these are called.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.archive import column_of, pictures_of
from medmeta.data.index import Column, SourceIndex
from medmeta.data.mask_shape import UNLABELLED
from medmeta.data.npz import Arrays, Header, Pictures, opened
from medmeta.errors import DataError

_COLUMNS = ("patient_ids", "sites", "modality")


@dataclass(frozen=True)
class MaskedArchive:
    """The table of an npz, its pictures and its masks, which are not read yet."""

    index: SourceIndex
    images: Pictures
    masks: Pictures


def read_masked_archive(path: Path) -> MaskedArchive:
    """Read the table of an npz with masks; raises ``DataError``."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the name and the folder.")
    with opened(path) as archive:
        arrays = Arrays(path, archive)
        missing = [name for name in ("images", "masks") if name not in arrays.headers]
        if missing:
            raise DataError(
                f"{path}: expected images and masks; there is "
                f"{', '.join(sorted(arrays.headers)) or 'nothing'}."
            )
        return _archive(arrays)


def _archive(arrays: Arrays) -> MaskedArchive:
    path, images = arrays.path, pictures_of(arrays, ["images"])
    if images.depth:
        raise DataError(f"{path}: masks of volumes are read from NIfTI; an npz holds pictures.")
    header = arrays.checked("masks")
    n = len(images)
    shape = (n, *images.parts[0][1].shape[1:3])
    if header.shape != shape or header.dtype != np.uint8:
        raise DataError(
            f"{path}: masks must be uint8 {shape}, as its images are, not "
            f"{header.dtype} {header.shape}."
        )
    names = [name for name in (*_COLUMNS, "structure_names", "task", "task_names")]
    held = {name: arrays.read(name) for name in names if name in arrays.headers}
    columns = {name: column_of(path, name, held.get(name), n) for name in _COLUMNS}
    family = _family(path, held, n)
    index = SourceIndex(
        name=path.stem,
        root=path.parent,
        paths=(),
        array_rows=np.arange(n, dtype=np.int64),
        labels=None,
        values=None,
        patients=columns["patient_ids"],
        sites=columns["sites"],
        modalities=columns["modality"],
        splits=Column.unknown(n),
        file_sizes=np.full(n, -1, dtype=np.int64),
        others={} if family is None else {"family": family},
        structures=_structures(arrays, header, held.get("structure_names")),
    )
    return MaskedArchive(index, images, Pictures(path, (("masks", header),)))


def _family(path: Path, held: dict[str, NDArray[Any]], n: int) -> Column | None:
    if "task" not in held or "task_names" not in held:
        return None
    numbers, names = held["task"].reshape(-1), [str(t) for t in held["task_names"].reshape(-1)]
    if len(numbers) != n or numbers.dtype.kind not in "iu":
        raise DataError(f"{path}: task must be {n} whole numbers, not {held['task'].shape}.")
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(names):
        raise DataError(f"{path}: task numbers go beyond its {len(names)} task_names.")
    return Column.from_texts([names[number] for number in numbers.tolist()])


def _structures(arrays: Arrays, header: Header, names: NDArray[Any] | None) -> tuple[str, ...]:
    """Names of the values 1, 2, ... that the masks have."""
    largest = 0
    for block in arrays.blocks("masks"):
        largest = max(largest, int(block[block != UNLABELLED].max(initial=0)))
    if names is None:
        return ("structure",) if largest == 1 else tuple(map(str, range(1, largest + 1)))
    listed = tuple(str(name) for name in names.reshape(-1))
    if largest > len(listed):
        raise DataError(
            f"{arrays.path}: its masks go up to {largest}, but structure_names has {len(listed)}; "
            "name every structure that is marked (the background is not named)."
        )
    if len(set(listed)) < len(listed):
        raise DataError(f"{arrays.path}: structure_names has one name twice.")
    return listed
