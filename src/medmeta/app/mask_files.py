"""Masks, overlays and the table of what was marked, written as a whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.app.mask_answers import MarkedImage
from medmeta.data.mask_writers import write_nifti_map, write_nifti_mask, write_segmentation
from medmeta.errors import SettingsError
from medmeta.storage import UNFINISHED, explained_disk_errors

Format = Literal["auto", "png", "nifti", "dicom-seg"]
TABLE = "masks.csv"
_COLOURS = ((230, 40, 40), (40, 160, 230), (60, 190, 60), (240, 180, 30), (180, 70, 220))


@dataclass(frozen=True)
class WrittenMask:
    """One row of the table: the image, where its mask is, and sizes by structure."""

    path: Path
    file: str
    sizes: tuple[tuple[str, int, float | None, float, float | None], ...]
    slices: int
    measured: tuple[Mapping[str, float], ...] = ()


def write_masks(
    out: Path,
    marked: Iterable[MarkedImage],
    structures: Sequence[str],
    *,
    form: Format = "auto",
    overlays: bool = False,
) -> list[WrittenMask]:
    """Write each image's mask into the folder ``out``, which appears when all are there.

    ``auto``: NIfTI for NIfTI, DICOM SEG for DICOM, PNG else. PNG holds the structures' numbers; a
    volume has one for each slice. ``overlays`` are pictures with outlines. ``masks.csv`` has a
    row for each image and structure. Raises ``SettingsError`` for a form that an image cannot be
    given, ``StorageError`` where the disk refuses.
    """
    if out.exists():
        raise SettingsError(f"--out {out} is already there; choose another folder or remove it.")
    with explained_disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.mkdtemp(prefix=f".{out.name}.", suffix=UNFINISHED, dir=out.parent)
        folder = Path(made)
    try:
        rows = []
        for number, one in enumerate(marked, start=1):
            with explained_disk_errors(out):
                rows.append(_written(folder, one, structures, number, form, overlays=overlays))
        with explained_disk_errors(out):
            text = table(rows)
            (folder / TABLE).write_bytes(text.encode("utf-8", "backslashreplace"))
            folder.chmod(0o755)
            os.rename(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def _written(
    folder: Path,
    one: MarkedImage,
    structures: Sequence[str],
    number: int,
    form: Format,
    *,
    overlays: bool,
) -> WrittenMask:
    scan = one.asked.scan
    chosen = form
    if form == "auto":
        kinds: dict[str, Format] = {"nifti": "nifti", "dicom": "dicom-seg"}
        chosen = "png" if scan is None else kinds[scan.kind]
    wanted = {"nifti": "nifti", "dicom-seg": "dicom"}.get(chosen)
    if wanted is not None and (scan is None or scan.kind != wanted):
        raise SettingsError(
            f"{one.asked.path}: --format {chosen} is for {wanted.upper()} images, and this is "
            "none; use --format auto or png."
        )
    name = f"{number:04d}-{_plain(one.asked.path)}"
    if chosen == "nifti" and scan is not None:
        file = f"{name}.nii.gz"
        write_nifti_mask(folder / file, scan, one.mask, plane=one.plane)
    elif chosen == "dicom-seg" and scan is not None:
        file = f"{name}.dcm"
        write_segmentation(folder / file, scan, one.mask, structures)
    else:
        file = f"{name}.png" if len(one.mask) == 1 else f"{name}-*.png"
        for place, mask in enumerate(one.mask):
            Image.fromarray(mask).save(folder / file.replace("*", f"{place:04d}"))
    if overlays:
        for place, (shown, mask) in enumerate(zip(one.shown, one.mask, strict=True)):
            if len(one.mask) == 1 or mask.any():
                drawn = Image.fromarray(overlay(shown, mask))
                drawn.save(folder / f"{name}-overlay-{place:04d}.png")
    if one.uncertainty is not None and chosen == "nifti" and scan is not None:
        file_of_map = folder / f"{name}-uncertainty.nii.gz"
        write_nifti_map(file_of_map, scan, one.uncertainty, plane=one.plane)
    elif one.uncertainty is not None:
        for place, entropy in enumerate(one.uncertainty):
            grey = np.rint(255 * np.clip(entropy, 0, 1)).astype(np.uint8)
            Image.fromarray(grey).save(folder / f"{name}-uncertainty-{place:04d}.png")
    sizes = _sizes(one, structures)
    return WrittenMask(one.asked.path, file, sizes, len(one.mask), one.measured)


def _sizes(
    one: MarkedImage, structures: Sequence[str]
) -> tuple[tuple[str, int, float | None, float, float | None], ...]:
    found = []
    for number, name in enumerate(structures, start=1):
        pixels, size = one.size_of(number)
        expected = None if one.expected_dice is None else float(one.expected_dice[number - 1])
        found.append((name, pixels, size, float(one.confidence[number - 1]), expected))
    return tuple(found)


def table(rows: Sequence[WrittenMask]) -> str:
    """A row for each image and structure; ``area_mm2`` of pictures, ``volume_mm3`` of volumes.

    Where there was a truth, what was measured against it stands behind.
    """
    figures = list(rows[0].measured[0]) if rows and rows[0].measured else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["path", "mask", "structure", "pixels", "area_mm2", "volume_mm3", "confidence"]
    writer.writerow([*header, "expected_dice", "slices", *figures])
    for row in rows:
        for number, (name, pixels, size, sure, expected) in enumerate(row.sizes):
            flat = row.slices == 1
            cells = [_cell(size if flat else None), _cell(None if flat else size)]
            measured = [_cell(sure), _cell(expected), row.slices]
            against = [_cell(row.measured[number][figure]) for figure in figures]
            writer.writerow([str(row.path), row.file, name, pixels, *cells, *measured, *against])
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.6g}"


def overlay(shown: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture in colour with a line along the inner edge of each structure."""
    colour = np.repeat(shown[..., None], 3, axis=2) if shown.ndim == 2 else shown.copy()
    padded = np.pad(mask, 1, mode="edge")
    same = np.ones(mask.shape, dtype=bool)
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        height, width = mask.shape
        same &= padded[rows : rows + height, columns : columns + width] == mask
    for number in np.unique(mask[mask > 0]).tolist():
        colour[(mask == number) & ~same] = _COLOURS[(number - 1) % len(_COLOURS)]
    return colour


def structure_colour(number: int) -> str:
    """The colour of a structure's outline, as a page writes it.

    >>> structure_colour(1)
    '#e62828'
    """
    return "#" + "".join(f"{level:02x}" for level in _COLOURS[(number - 1) % len(_COLOURS)])


def _plain(path: Path) -> str:
    """A file's name without what a file system may not bear."""
    stem = path.name.split(".")[0] or "image"
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)[:60]
