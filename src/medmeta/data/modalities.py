"""Several modalities of one patient: a file of each, on one grid, as channels of one input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from medmeta.data.manifest_paths import Locator
from medmeta.data.manifest_scans import scans_at
from medmeta.data.medical import read_slices, slices_of
from medmeta.data.nifti_header import read_header
from medmeta.data.preprocess import Preprocessing, content_hash, prepare
from medmeta.data.readers import read_image
from medmeta.data.resampled import at_spacing, on_grid_of
from medmeta.data.scan import Scan
from medmeta.data.slices import spread_slices
from medmeta.data.store import Decoded
from medmeta.data.whole_volumes import NO_VOLUME, read_whole, whole_volume
from medmeta.errors import UnreadableImageError

Part = Path | Scan | None
"""A picture's file or a scan of one modality; None where that is missing."""
TOLERANCE = 1e-3  # mm, within which two grids are one
_OR_STRETCH = "or say --spacing any to have each stretched to the same grid."
_RESAMPLE = "say --resample linear to bring NIfTI files to that of the first by where they lie"
_IN_SPACE = f"register them first; {_RESAMPLE}, {_OR_STRETCH}"
_TOLD = f"bring them to one; {_RESAMPLE}, {_OR_STRETCH}"


@dataclass(frozen=True)
class ModalRow:
    """What there is of one patient, a part for each modality, and which slice of it."""

    parts: tuple[Part, ...]
    number: int


def find_parts(
    cells: Mapping[str, str],
    modalities: Sequence[str],
    locate: Locator,
    *,
    root: Path,
    spacing: str,
    resample: str = "no",
) -> tuple[Part, ...] | str:
    """The files that a manifest's row names, or what is wrong with it."""
    parts: list[Part] = []
    for name in modalities:
        given = cells.get(name) or ""
        if given.strip().lower() in ("", "nan"):
            parts.append(None)
            continue
        found = locate(given)
        if isinstance(found, str):
            return f"{name}: {found}"
        scans, wrong = scans_at(found[0], root=root)
        if wrong:
            return f"{name}: {wrong[0].what}"
        if len(scans) > 1:
            return f"{name}: its path holds {len(scans)} series; name the folder or file of one."
        if not scans and found[0].is_dir():
            return f"{name}: its path is a folder without DICOM or NIfTI."
        parts.append(scans[0] if scans else found[0])
    if not any(part is not None for part in parts):
        return f"has no file in any of {', '.join(modalities)}."
    if resample != "no" and all(part is None or _is_nifti(part) for part in parts):
        return tuple(parts)
    wrong_grid = "" if spacing == "any" else different_grids(modalities, parts)
    return wrong_grid or tuple(parts)


def _is_nifti(part: Part) -> TypeGuard[Scan]:
    return isinstance(part, Scan) and part.kind == "nifti"


def different_grids(modalities: Sequence[str], parts: Sequence[Part]) -> str:
    """Why two scans of one patient do not lie on the same grid; empty where they do.

    Sizes and spacing are compared, of NIfTI files where they lie in space too. Pictures have no
    grid, and a picture beside a volume is on another.
    """
    named = [(n, part) for n, part in zip(modalities, parts, strict=True) if part is not None]
    (first_name, first), others = named[0], named[1:]
    for name, part in others:
        both = f"{first_name} and {name}"
        if isinstance(part, Scan) != isinstance(first, Scan):
            return f"{both} are a picture and a scan; {_TOLD}"
        if not isinstance(part, Scan) or not isinstance(first, Scan):
            continue
        sizes = (first.n_slices, *first.shape), (part.n_slices, *part.shape)
        if sizes[0] != sizes[1]:
            words = " and ".join("×".join(map(str, size)) for size in sizes)
            return f"{both} lie on different grids ({words} voxels); {_TOLD}"
        pairs = zip(first.spacing, part.spacing, strict=True)
        if any(a and b and abs(a - b) > TOLERANCE for a, b in pairs):
            return f"{both} have voxels of different sizes; {_TOLD}"
        if first.kind == part.kind == "nifti" and not _same_place(first, part):
            return f"{both} lie in different places of space; {_IN_SPACE}"
    return ""


def _same_place(first: Scan, second: Scan) -> bool:
    one, other = (read_header(scan.files[0]).affine for scan in (first, second))
    return bool(np.allclose(one, other, atol=TOLERANCE, rtol=0))


def read_modal(row: ModalRow, preprocessing: Preprocessing) -> Decoded:
    """All modalities of one patient as channels, ``(M · C, [D,] size, size)``.

    What is missing is black. Where one cannot be read, none is: the reason names the modality.
    """
    blank = np.zeros((preprocessing.channels, *preprocessing.shape[1:]), dtype=np.uint8)
    planes, first = [], next(part for part in row.parts if part is not None)
    for name, part in zip(preprocessing.modalities, row.parts, strict=True):
        try:
            planes.append(blank if part is None else _read(part, first, row.number, preprocessing))
        except UnreadableImageError as error:
            where = part.where if isinstance(part, Scan) else part
            return Decoded(None, reason=f"{name}: {str(error).removeprefix(f'{where}: ')}")
    together = np.concatenate(planes)
    flat = together.reshape(-1, together.shape[-1])
    return Decoded(together, content_hash(flat))


def _read(
    part: Path | Scan, first: Path | Scan, number: int, preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """One modality, on the grid of the first that is there where that is told."""
    told = preprocessing.resample != "no" and part is not first
    if told and _is_nifti(part) and _is_nifti(first):
        return _resampled(part, first, number, preprocessing)
    if preprocessing.depth:
        if isinstance(part, Path):
            raise UnreadableImageError(f"{part}: {NO_VOLUME}")
        return read_whole(part, preprocessing)
    if isinstance(part, Path):
        return prepare(read_image(part).pixels, preprocessing)
    number = min(number, part.n_slices - 1)  # of a scan on another grid, where that is allowed
    return prepare(read_slices(part, [number], preprocessing)[0], preprocessing)


def _resampled(
    part: Scan, first: Scan, number: int, preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    if not preprocessing.depth:
        return prepare(on_grid_of(first, part, [number], preprocessing)[0], preprocessing)
    n = slices_of(first, preprocessing)
    if preprocessing.spacing_mm is not None:
        slices = on_grid_of(first, part, range(n), preprocessing)
        return at_spacing(slices, first, preprocessing)
    numbers = spread_slices(n, preprocessing.depth)
    return whole_volume(on_grid_of(first, part, numbers, preprocessing), preprocessing)
