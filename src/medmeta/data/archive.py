"""Sources in one npz file: medmeta's own layout, and that of MedMNIST.

Own: ``images`` uint8 ``(n, H, W[, 3])`` with ``labels`` ``(n,)`` and ``class_names``, or with
``values`` ``(n,)``; ``patient_ids``, ``sites``, ``modality``, ``devices`` and ``sex`` where known.
MedMNIST: ``train_images``, ``train_labels`` and so on, labels ``(n, 1)``; a file that is called as
MedMNIST calls it has the names of its classes and its modality from the catalogue. Images may be
volumes ``(n, D, H, W)``, as those of MedMNIST's 3-D sets. Anything else in it is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.catalogue import CataloguedSet, set_of_file
from medmeta.data.index import Column, Problem, SourceIndex
from medmeta.data.npz import Arrays, Pictures, opened
from medmeta.errors import DataError

_SPLITS = ("train", "val", "test")
_COLUMNS = ("patient_ids", "sites", "modality")
_OTHERS = {"devices": "device", "sex": "sex"}  # arrays, and the columns that they become


@dataclass(frozen=True)
class Archive:
    """The table of an npz, and its pictures, which are not read yet."""

    index: SourceIndex
    images: Pictures


def read_archive(path: Path) -> Archive:
    """Read the table of an npz of either layout; of its pictures the shapes only.

    Raises ``DataError`` where it is damaged, would need more than 8 GB, or is of another layout.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the name and the folder.")
    with opened(path) as archive:
        arrays = Arrays(path, archive)
        return _own(arrays) if "images" in arrays.headers else _medmnist(arrays)


def _own(arrays: Arrays) -> Archive:
    known = ("images", "labels", "values", "class_names", *_COLUMNS, *_OTHERS)
    names = [name for name in known if name in arrays.headers]
    arrays.check_size(names)
    path, images = arrays.path, pictures_of(arrays, ["images"])
    n = _volumes(images)
    held = {name: arrays.read(name) for name in names if name != "images"}
    if ("labels" in held) == ("values" in held):
        raise DataError(f"{path}: beside images there must be either labels or values.")
    labels: Column | None = None
    problems: tuple[Problem, ...] = ()
    if "labels" in held:
        whole = _whole_labels(path, held["labels"], n, "labels")
        labels, problems = _named(path, whole, held.get("class_names"))
    values = None
    if "values" in held:
        values = _checked_values(path, held["values"], n)
    columns = {name: column_of(path, name, held.get(name), n) for name in _COLUMNS}
    others = {
        column: column_of(path, name, held[name], n)
        for name, column in _OTHERS.items()
        if name in held
    }
    index = SourceIndex(
        name=path.stem,
        root=path.parent,
        paths=(),
        array_rows=np.arange(n, dtype=np.int64),
        labels=labels,
        values=values,
        patients=columns["patient_ids"],
        sites=columns["sites"],
        modalities=columns["modality"],
        splits=Column.unknown(n),
        file_sizes=np.full(n, -1, dtype=np.int64),
        problems=problems,
        others=others,
    )
    return Archive(index, images)


def _medmnist(arrays: Arrays) -> Archive:
    path = arrays.path
    parts = [part for part in _SPLITS if f"{part}_images" in arrays.headers]
    missing = [part for part in parts if f"{part}_labels" not in arrays.headers]
    if not parts or missing:
        raise DataError(
            f"{path}: expected images with labels and class_names, or train_images with "
            f"train_labels (MedMNIST); there is {', '.join(sorted(arrays.headers)) or 'nothing'}."
        )
    arrays.check_size([f"{part}_{kind}" for part in parts for kind in ("images", "labels")])
    pictures = pictures_of(arrays, [f"{part}_images" for part in parts])
    labels, splits = [], []
    for part, (_, header) in zip(parts, pictures.parts, strict=True):
        n = header.shape[0]
        labels.append(_whole_labels(path, arrays.read(f"{part}_labels"), n, f"{part}_labels"))
        splits += [part] * n
    whole, known = np.concatenate(labels), _catalogued(pictures, labels)
    column, problems = _named(path, whole, np.array(known.classes) if known else None)
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
        modalities=Column.from_texts([known.modality] * n) if known else Column.unknown(n),
        splits=Column.from_texts(splits),
        file_sizes=np.full(n, -1, dtype=np.int64),
        problems=problems,
    )
    return Archive(index, pictures)


def _catalogued(pictures: Pictures, labels: Sequence[NDArray[np.int64]]) -> CataloguedSet | None:
    """What the catalogue knows of a MedMNIST file: by its name, if what it holds fits that."""
    found = set_of_file(pictures.path.stem)
    if found is None or (found.dimensions == 3) != bool(pictures.depth):
        return None
    largest = max((int(part.max()) for part in labels if len(part)), default=0)
    return found if largest < len(found.classes) else None


def pictures_of(arrays: Arrays, names: Sequence[str]) -> Pictures:
    """Arrays of pictures, one after the other, which are not read; raises ``DataError``."""
    parts = tuple((name, arrays.checked(name)) for name in names)
    for name, header in parts:
        shape = header.shape
        if len(shape) not in (3, 4) or 0 in shape[1:] or header.dtype != np.uint8:
            raise DataError(
                f"{arrays.path}: {name} must be uint8 (n, H, W), (n, H, W, 3) or (n, D, H, W), "
                f"not {header.dtype} {shape}."
            )
        if len(shape) == 4 and (wrong := _no_layout(shape)):
            raise DataError(
                f"{arrays.path}: {name} of {shape} looks like pictures {wrong}: pictures are "
                "(n, H, W), (n, H, W, 1) or (n, H, W, 3), volumes (n, D, H, W)."
            )
    shapes = (header.shape for _, header in parts)
    if len({shape[1:3] if shape[3:] == (1,) else shape[1:] for shape in shapes}) > 1:
        raise DataError(f"{arrays.path}: its parts hold pictures of different shapes.")
    return Pictures(arrays.path, parts)


def _no_layout(shape: Sequence[int]) -> str:
    """What pictures that would be taken for volumes have; empty for volumes."""
    if shape[3] in (2, 4):
        return "with an alpha channel; leave that out"
    if shape[1] in (1, 3) and shape[3] > 3:
        return "whose channels come first; move them behind rows and columns"
    return ""


def _volumes(pictures: Pictures) -> int:
    """How many rows the table has: volumes, or pictures."""
    return len(pictures) // max(1, pictures.depth)


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
        if class_names.dtype.kind == "S":
            class_names = np.char.decode(class_names, "utf-8", "replace")
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


def column_of(path: Path, name: str, held: NDArray[Any] | None, n: int) -> Column:
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
    if held.dtype.kind in "iu":
        return Column.from_texts([str(int(v)) if v >= 0 else None for v in held])
    most = 2 ** (np.finfo(held.dtype).nmant + 1)
    if np.any(held[np.isfinite(held)] > most):
        raise DataError(
            f"{path}: {name} holds numbers above {most}, which {held.dtype} does not tell apart; "
            "save them as whole numbers or as texts."
        )
    numbers = [float(v) if v >= 0 else None for v in held]
    return Column.from_texts(
        [None if v is None else str(int(v)) if v.is_integer() else f"{v:.15g}" for v in numbers]
    )
