"""NIfTI volumes as slices: found, placed by their affine, and read a part at a time.

A volume is first turned to the closest canonical axes (rightwards, forwards, upwards), as nibabel
does. Its slices are then shown in the radiological convention, as DICOM viewers do: the patient's
right is on the left of axial and coronal slices, the front is at the top of axial slices and on
the left of sagittal ones, and the head is at the top.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Problem
from medmeta.data.nifti_header import (
    MAX_BYTES,
    NiftiHeader,
    library,
    nifti_files,
    opened,
    read_header,
    why_damaged,
)
from medmeta.data.scan import Scan
from medmeta.data.voxel_tally import VoxelTally
from medmeta.data.windows import OWN, parse_window
from medmeta.errors import UnreadableImageError

Plane = Literal["axial", "coronal", "sagittal"]
Look = Literal["label map", "image", ""]
_ACROSS = {"sagittal": 0, "coronal": 1, "axial": 2}  # the canonical axis that slices lie along
_BLOCK_BYTES = 4_000_000


@dataclass(frozen=True)
class NiftiSlices:
    """Some slices of a volume: uint8 ``(H, W)`` or ``(H, W, 3)``, and what the volume is.

    ``look`` is empty where only the slices asked for were read.
    """

    pixels: tuple[NDArray[np.uint8], ...]
    look: Look


def scan_nifti(path: Path, *, root: Path) -> Scan | Problem:
    """What a NIfTI file holds, from its header; or what is wrong with it.

    The patient is not known from the file itself. ``shape`` and ``n_slices`` are those of axial
    slices; ``slice_count`` has those of the other planes.
    """
    where = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    try:
        header = read_header(path)
    except UnreadableImageError as error:
        return Problem("error", where, str(error))
    (width, height, depth), steps = _canonical(header)
    remarks = []
    if header.times > 1:
        remarks.append(
            f"holds {header.times} volumes, of which one is used: the first, unless --time-point "
            "names another."
        )
    if header.labels:
        remarks.append("is a label map, as its header says, and no image.")
    if not header.placed:
        remarks.append(
            "does not say where left and right are (it has no qform and no sform); its axes are "
            "taken as they are stored."
        )
    return Scan(
        kind="nifti",
        where=where,
        files=nifti_files(path),
        n_slices=depth,
        shape=(height, width),
        spacing=(steps[2], steps[1], steps[0]),
        photometric="RGB" if header.dtype.names else "MONOCHROME2",
        problems=tuple(Problem("warning", where, text) for text in remarks),
    )


def slice_count(scan: Scan, plane: Plane = "axial") -> int:
    """How many slices a volume has in a plane."""
    return {"axial": scan.n_slices, "coronal": scan.shape[0], "sagittal": scan.shape[1]}[plane]


def read_nifti_slice(
    scan: Scan,
    number: int,
    *,
    window: str = OWN,
    plane: Plane = "axial",
    time_point: int = 1,
) -> NDArray[np.uint8]:
    """One slice as uint8 ``(H, W)`` or ``(H, W, 3)``; see ``read_nifti_slices``."""
    asked = (number,)
    found = read_nifti_slices(scan, asked, window=window, plane=plane, time_point=time_point)
    return found.pixels[0]


def read_nifti_slices(
    scan: Scan,
    numbers: Sequence[int],
    *,
    window: str = OWN,
    plane: Plane = "axial",
    time_point: int = 1,
) -> NiftiSlices:
    """Some slices, counted from 0 upwards, forwards or rightwards, with one window for all.

    By the window ``file`` they are shown between the values that the file names (``cal_min`` and
    ``cal_max``), or else between the 0.5th and the 99.5th percentile of the volume. What is no
    number is black. Raises ``UnreadableImageError``.
    """
    try:
        header = read_header(scan.files[0])
        _check_time(header, time_point)
        asked = parse_window(window)
        limits = header.shown
        if asked is not None:
            limits = (asked.centre - asked.width / 2, asked.centre + asked.width / 2)
        tally = VoxelTally(int(np.prod(header.shape))) if limits is None else None
        raw = _gathered(header, numbers, plane=plane, time_point=time_point, tally=tally)
        if header.dtype.names:
            return NiftiSlices(tuple(_colour(a) for a in raw), "image")
        if tally is not None:
            limits = tally.span()
        if limits is None:
            raise UnreadableImageError("holds no number at all (only NaN); write it again.")
        look: Look = "" if tally is None else "label map" if tally.labels() else "image"
        return NiftiSlices(tuple(_shown(a, *limits) for a in raw), look)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{scan.where}: {error}") from error.__cause__
    except MemoryError:
        raise UnreadableImageError(f"{scan.where}: needs more memory than there is.") from None


def nifti_values(
    scan: Scan, number: int, *, plane: Plane = "axial", time_point: int = 1
) -> NDArray[Any]:
    """One slice ``(H, W)`` as it was measured: scaled by the header's slope and intercept."""
    try:
        header = read_header(scan.files[0])
        _check_time(header, time_point)
        return _gathered(header, (number,), plane=plane, time_point=time_point, tally=None)[0]
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{scan.where}: {error}") from error.__cause__


def _check_time(header: NiftiHeader, time_point: int) -> None:
    """Raise ``UnreadableImageError`` where there is no such volume, or it lies too far in."""
    if not 1 <= time_point <= header.times:
        has = "1 volume" if header.times == 1 else f"{header.times} volumes"
        raise UnreadableImageError(
            f"has {has}, so there is no number {time_point}; name another with --time-point."
        )
    volume = math.prod(header.shape) * header.dtype.itemsize
    if header.body.name.lower().endswith(".gz") and time_point * volume > MAX_BYTES:
        raise UnreadableImageError(
            f"would have to be unpacked for {time_point * volume / 1e9:.1f} GB up to volume "
            f"{time_point}; unpack it first, or save that volume by itself."
        )


def _turns(header: NiftiHeader) -> NDArray[np.float64]:
    """For each axis of the file the canonical one, and 1 or -1 as they run alike or against."""
    turns: NDArray[np.float64] = library().orientations.io_orientation(header.affine)
    if not np.isfinite(turns).all():
        raise UnreadableImageError("has an affine that cannot be followed; write it again.")
    return turns


def _canonical(header: NiftiHeader) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Voxels, and mm from one to the next, rightwards, forwards and upwards."""
    steps = np.linalg.norm(header.affine[:3, :3], axis=0)
    file_axis = np.argsort(_turns(header)[:, 0])
    x, y, z = (int(header.shape[a]) for a in file_axis)
    dx, dy, dz = (round(float(steps[a]), 6) for a in file_axis)
    return (x, y, z), (dx, dy, dz)


def _gathered(
    header: NiftiHeader,
    numbers: Sequence[int],
    *,
    plane: Plane,
    time_point: int,
    tally: VoxelTally | None,
) -> list[NDArray[Any]]:
    """Slices as they are shown, their values as measured, by one pass over the file."""
    turns = _turns(header)
    axis = int(np.flatnonzero(turns[:, 0] == _ACROSS[plane])[0])
    last = header.shape[axis] - 1
    if not all(0 <= n <= last for n in numbers):
        raise UnreadableImageError(f"has {last + 1} {plane} slices, and not one for each number.")
    places = [n if turns[axis, 1] > 0 else last - n for n in numbers]
    whole = tally is not None and header.dtype.names is None
    wanted = set(places) if axis == 2 and not whole else None
    parts: dict[int, list[NDArray[Any]]] = {place: [] for place in places}
    for first, block in _blocks(header, time_point, wanted):
        if whole and tally is not None:
            tally.add(block)
        for place in parts:
            if axis < 2:
                parts[place].append(np.array(block.take(place, axis=axis)))
            elif first <= place < first + block.shape[2]:
                parts[place].append(np.array(block[:, :, place - first]))
    # A slice along the file's last axis is found in one block, any other is a line of each block.
    flat = {p: a[0] if axis == 2 else np.concatenate(a, axis=1) for p, a in parts.items()}
    left = [a for a in range(3) if a != axis]
    return [_turned(flat[place], turns[left]) for place in places]


def _turned(values: NDArray[Any], turns: NDArray[np.float64]) -> NDArray[Any]:
    """A slice of the file's axes as it is shown; further axes (colours) stay behind."""
    for axis in range(2):
        if turns[axis, 1] < 0:
            values = np.flip(values, axis)
    if turns[0, 0] > turns[1, 0]:
        values = values.swapaxes(0, 1)
    return np.ascontiguousarray(values[::-1, ::-1].swapaxes(0, 1))


def _blocks(
    header: NiftiHeader, time_point: int, wanted: set[int] | None
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Parts ``(X, Y, k)`` of a volume in the file's order, a few MB each; or some slices only."""
    x, y, z = header.shape
    step = 1
    if wanted is None:
        step = max(1, _BLOCK_BYTES // (x * y * header.dtype.itemsize))
    firsts = range(0, z, step) if wanted is None else sorted(wanted)
    with opened(header.body) as file:
        for first in firsts:
            block = _block(file, header, time_point, slice(first, min(first + step, z)))
            yield first, _planes(block) if header.dtype.names else block


def _block(file: IO[bytes], header: NiftiHeader, time_point: int, part: slice) -> NDArray[Any]:
    """Some slices along the file's last axis ``(X, Y, k)``, scaled by nibabel."""
    start = header.offset + (time_point - 1) * int(np.prod(header.shape)) * header.dtype.itemsize
    spec = (header.shape, header.dtype, start, header.slope, header.inter)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(library().arrayproxy.ArrayProxy(file, spec, mmap=False)[:, :, part])
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise almost anything
        raise UnreadableImageError(why_damaged(error)) from error


def _planes(block: NDArray[Any]) -> NDArray[np.uint8]:
    """Colour voxels as ``(X, Y, k, 3)``."""
    return np.stack([block[name] for name in ("R", "G", "B")], axis=-1)


def _colour(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values, dtype=np.uint8)


def _shown(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Values ``(H, W)`` between black and white; what is no number is black."""
    if not np.isfinite(values).any() and values.dtype.kind == "f":
        raise UnreadableImageError("holds a slice without any number (only NaN).")
    scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1.0))
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)).astype(np.uint8)
