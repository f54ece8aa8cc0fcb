"""Sources in one npz file: medmeta's own layout, and that of MedMNIST.

Own: ``images`` uint8 ``(n, H, W[, 3])`` with ``labels`` ``(n,)`` and ``class_names``, or with
``values`` ``(n,)``; ``patient_ids``, ``sites`` and ``modality`` where known. MedMNIST:
``train_images``, ``train_labels`` and so on, labels ``(n, 1)``. Anything else in it is left alone.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.errors import DataError

MAX_ARCHIVE_BYTES = 8_000_000_000
_SPLITS = ("train", "val", "test")
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    SyntaxError,
    MemoryError,
    OverflowError,
)


@dataclass(frozen=True)
class Archive:
    """The table of an npz and its pictures: uint8 ``(n, H, W)`` or ``(n, H, W, 3)``."""

    index: SourceIndex
    images: NDArray[np.uint8]


def read_archive(path: Path) -> Archive:
    """Read an npz of either layout.

    Raises ``DataError`` where it is damaged, would need more than 8 GB, or is of another layout.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the name and the folder.")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _Arrays(path, archive)
            return _own(arrays) if "images" in arrays.shapes else _medmnist(arrays)
    except _DAMAGE as error:
        raise DataError(f"{path}: is no npz, or is damaged ({error}); copy it again.") from error


class _Arrays:
    """The arrays of an npz, measured by their headers before any is read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    self.shapes[name[:-4]] = _header(file)[0]

    def read(self, name: str) -> NDArray[Any]:
        """One array; its declared size is held against its true one, and against the limit."""
        info = self._archive.getinfo(f"{name}.npy")
        with self._archive.open(info) as file:
            shape, dtype = _header(file)
            declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if dtype.hasobject:
                raise DataError(f"{self.path}: {name} holds Python objects, which are not read.")
            if declared != info.file_size - file.tell():
                raise DataError(f"{self.path}: {name} is not as long as it says; copy it again.")
        with self._archive.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def check_size(self, names: Sequence[str]) -> None:
        """Raise ``DataError`` where these arrays together are beyond the limit."""
        total = sum(self._archive.getinfo(f"{name}.npy").file_size for name in names)
        if total > MAX_ARCHIVE_BYTES:
            raise DataError(
                f"{self.path}: would need {total / 1e9:.1f} GB of memory, more than the "
                f"{MAX_ARCHIVE_BYTES / 1e9:g} GB that are read; save the pictures as files."
            )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"npy version {version}")
    return shape, dtype


def _own(arrays: _Arrays) -> Archive:
    known = ("images", "labels", "values", "class_names", "patient_ids", "sites", "modality")
    names = [name for name in known if name in arrays.shapes]
    arrays.check_size(names)
    held = {name: arrays.read(name) for name in names}
    path, images = arrays.path, _pictures(arrays.path, held["images"], "images")
    if ("labels" in held) == ("values" in held):
        raise DataError(f"{path}: beside images there must be either labels or values.")
    labels: Column | None = None
    problems: tuple[Problem, ...] = ()
    if "labels" in held:
        whole = _whole_labels(path, held["labels"], len(images), "labels")
        labels, problems = _named(path, whole, held.get("class_names"))
    values = None
    if "values" in held:
        values = _checked_values(path, held["values"], len(images))
    columns = {
        name: _column(path, name, held.get(name), len(images))
        for name in ("patient_ids", "sites", "modality")
    }
    index = SourceIndex(
        name=path.stem,
        root=path.parent,
        paths=(),
        array_rows=np.arange(len(images), dtype=np.int64),
        labels=labels,
        values=values,
        patients=columns["patient_ids"],
        sites=columns["sites"],
        modalities=columns["modality"],
        splits=Column.unknown(len(images)),
        file_sizes=np.full(len(images), -1, dtype=np.int64),
        problems=problems,
    )
    return Archive(index, images)


def _medmnist(arrays: _Arrays) -> Archive:
    path = arrays.path
    parts = [part for part in _SPLITS if f"{part}_images" in arrays.shapes]
    missing = [part for part in parts if f"{part}_labels" not in arrays.shapes]
    if not parts or missing:
        raise DataError(
            f"{path}: expected images with labels and class_names, or train_images with "
            f"train_labels (MedMNIST); there is {', '.join(sorted(arrays.shapes)) or 'nothing'}."
        )
    arrays.check_size([f"{part}_{kind}" for part in parts for kind in ("images", "labels")])
    pictures, labels, splits = [], [], []
    for part in parts:
        name = f"{part}_images"
        pictures.append(_pictures(path, arrays.read(name), name))
        n = len(pictures[-1])
        labels.append(_whole_labels(path, arrays.read(f"{part}_labels"), n, f"{part}_labels"))
        splits += [part] * n
    if len({p.shape[1:] for p in pictures}) > 1:
        raise DataError(f"{path}: its parts hold pictures of different shapes.")
    column, problems = _named(path, np.concatenate(labels), None)
    n = len(splits)
    index = SourceIndex(
        name=path.stem,
        root=path.parent,
        paths=(),
        array_rows=np.arange(n, dtype=np.int64),
        labels=column,
        values=None,
        patients=Column.unknown(n),
        sites=Column.unknown(n),
        modalities=Column.unknown(n),
        splits=Column.from_texts(splits),
        file_sizes=np.full(n, -1, dtype=np.int64),
        problems=problems,
    )
    return Archive(index, np.concatenate(pictures))


def _pictures(path: Path, images: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    flat = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if not flat or 0 in images.shape[1:] or images.dtype != np.uint8:
        raise DataError(
            f"{path}: {name} must be uint8 (n, H, W) or (n, H, W, 3), not {images.dtype} "
            f"{images.shape}; volumes are not read from npz."
        )
    return images


def _whole_labels(path: Path, labels: NDArray[Any], n: int, name: str) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError(
            f"{path}: {name} has {labels.shape[1]} labels for each image; a source with several "
            "findings to an image cannot be read yet: save one finding at a time."
        )
    if labels.size != n or labels.ndim > 2:
        raise DataError(f"{path}: {n} images, but {name} has the shape {labels.shape}.")
    if labels.dtype.kind not in "iub":
        raise DataError(f"{path}: {name} must be whole numbers, not {labels.dtype}.")
    whole = labels.reshape(n).astype(np.int64)
    if (whole < 0).any():
        raise DataError(f"{path}: {name}, row {int(np.argmax(whole < 0))}, is below zero.")
    return whole


def _named(
    path: Path, labels: NDArray[np.int64], class_names: NDArray[Any] | None
) -> tuple[Column, tuple[Problem, ...]]:
    """The label column, with a warning for classes that have a name and no image."""
    present = np.unique(labels)
    if class_names is None:
        names = {int(c): str(c) for c in present}
    else:
        listed = [str(c) for c in class_names.reshape(-1)]
        if len(set(listed)) < len(listed):
            raise DataError(f"{path}: class_names has one name twice.")
        if len(present) and present[-1] >= len(listed):
            row = int(np.argmax(labels >= len(listed)))
            raise DataError(
                f"{path}: labels, row {row}, is {labels[row]}, but class_names has {len(listed)}."
            )
        names = {int(c): listed[c] for c in present}
        unused = sorted(set(listed) - set(names.values()))
        if unused:
            what = f"no image of {', '.join(unused[:10])}"
            return _encoded(labels, names), (Problem("warning", path.name, what),)
    return _encoded(labels, names), ()


def _encoded(labels: NDArray[np.int64], names: dict[int, str]) -> Column:
    ordered = sorted(names.values())
    table = np.zeros(max(names, default=0) + 1, dtype=np.int32)
    for number, name in names.items():
        table[number] = ordered.index(name)
    return Column(table[labels], tuple(ordered))


def _checked_values(path: Path, values: NDArray[Any], n: int) -> NDArray[np.float32]:
    if values.size != n or values.dtype.kind not in "iuf":
        raise DataError(f"{path}: values must be {n} numbers, not {values.dtype} {values.shape}.")
    flat = values.reshape(n).astype(np.float32)
    if not np.isfinite(flat).all():
        row = int(np.argmin(np.isfinite(flat)))
        raise DataError(f"{path}: values, row {row}, is not a finite number.")
    return flat


def _column(path: Path, name: str, held: NDArray[Any] | None, n: int) -> Column:
    """Texts or numbers as a column; empty, negative and not-a-number are unknown."""
    if held is None:
        return Column.unknown(n)
    if held.ndim == 0 or (held.size == 1 and n != 1):
        held = np.repeat(held.reshape(1), n)
    if held.shape not in ((n,), (n, 1)) or held.dtype.kind not in "iufUS":
        raise DataError(f"{path}: {name} must be {n} texts or numbers, not {held.shape}.")
    held = held.reshape(n)
    if held.dtype.kind == "S":
        held = np.char.decode(held, "utf-8", "replace")
    if held.dtype.kind == "U":
        return Column.from_texts([str(t).strip() or None for t in held])
    numbers = [float(v) for v in held]
    return Column.from_texts([f"{v:.15g}" if v >= 0 else None for v in numbers])
