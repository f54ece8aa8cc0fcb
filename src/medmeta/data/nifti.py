"""NIfTI volumes as slices: found, placed by their affine, and read a part at a time.

A volume is first turned to the closest canonical axes (rightwards, forwards, upwards), as nibabel
does. Its slices are then shown in the radiological convention, as DICOM viewers do: the patient's
right is on the left of axial and coronal slices, the front is at the top of axial slices and on
the left of sagittal ones, and the head is at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Problem
from medmeta.data.nifti_header import NiftiHeader, library, nifti_files, read_header
from medmeta.data.nifti_voxels import blocks, check_time
from medmeta.data.scan import Scan
from medmeta.data.voxel_tally import VoxelTally
from medmeta.data.windows import OWN, parse_window
from medmeta.errors import UnreadableImageError

Plane = Literal["axial", "coronal", "sagittal"]
Look = Literal["label map", "image", ""]
_ACROSS = {"sagittal": 0, "coronal": 1, "axial": 2}  # the canonical axis that slices lie along
_FEW = 16
_NO_NUMBER = "holds no number where it is looked at (only NaN); write it again."


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
        check_time(header, time_point)
        asked = parse_window(window)
        limits = header.shown
        if asked is not None:
            limits = (asked.centre - asked.width / 2, asked.centre + asked.width / 2)
        return _as_shown(header, numbers, limits, plane=plane, time_point=time_point)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{scan.where}: {error}") from error.__cause__
    except MemoryError:
        raise UnreadableImageError(f"{scan.where}: needs more memory than there is.") from None


def _as_shown(
    header: NiftiHeader,
    numbers: Sequence[int],
    limits: tuple[float, float] | None,
    *,
    plane: Plane,
    time_point: int,
) -> NiftiSlices:
    """Slices of 8 bits; the limits of grey are found first where they are not given."""
    gathered = partial(_gathered, header, numbers, plane=plane, time_point=time_point)
    if header.dtype.names:
        return NiftiSlices(tuple(_colour(a) for a in gathered()), "image")
    if limits is not None:
        numbered: list[bool] = []
        pixels = gathered(show=partial(_shown, *limits, numbered=numbered))
        if not any(numbered):
            raise UnreadableImageError(_NO_NUMBER)
        return NiftiSlices(tuple(pixels), "")
    tally = VoxelTally(int(np.prod(header.shape)))
    few = len(numbers) <= _FEW  # so few are held as they were measured until the range is known
    raw = gathered(tally=tally) if few else []
    if not few:
        for _, block in blocks(header, time_point, None):
            tally.add(block)
    limits = tally.span()
    if limits is None:
        raise UnreadableImageError(_NO_NUMBER)
    show = partial(_shown, *limits)
    shown = [show(a) for a in raw] if few else gathered(show=show)
    return NiftiSlices(tuple(shown), "label map" if tally.labels() else "image")


def nifti_values(
    scan: Scan,
    numbers: Sequence[int],
    *,
    plane: Plane = "axial",
    time_point: int = 1,
    show: Callable[[NDArray[Any]], NDArray[Any]] = np.array,
) -> list[NDArray[Any]]:
    """Slices ``(H, W)`` as they were measured: scaled by the header's slope and intercept.

    One pass over the file; ``show`` may make something smaller of the values at once.
    """
    try:
        header = read_header(scan.files[0])
        check_time(header, time_point)
        return _gathered(header, numbers, plane=plane, time_point=time_point, show=show)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{scan.where}: {error}") from error.__cause__


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


def affine_as_shown(scan: Scan, plane: Plane) -> NDArray[np.float64]:
    """From slice, row and column as they are shown to mm, ``(4, 4)``; raises as reading does."""
    try:
        header = read_header(scan.files[0])
        turns = _turns(header)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{scan.where}: {error}") from error.__cause__
    (width, height, depth), _ = _canonical(header)
    canonical = header.affine @ library().orientations.inv_ornt_aff(turns, header.shape)
    sides, across = (width, height, depth), _ACROSS[plane]
    columns, rows = (axis for axis in range(3) if axis != across)
    placed = np.zeros((4, 4))
    placed[across, 0], placed[3, 3] = 1, 1
    placed[rows, 1], placed[rows, 3] = -1, sides[rows] - 1
    placed[columns, 2], placed[columns, 3] = -1, sides[columns] - 1
    return np.asarray(canonical @ placed)


def _gathered(
    header: NiftiHeader,
    numbers: Sequence[int],
    *,
    plane: Plane,
    time_point: int,
    tally: VoxelTally | None = None,
    show: Callable[[NDArray[Any]], NDArray[Any]] = np.array,
) -> list[NDArray[Any]]:
    """Slices as they lie on a screen, by one pass over the file.

    Their values are as measured, or what ``show`` makes of them at once. ``tally`` counts all.
    """
    turns = _turns(header)
    axis = int(np.flatnonzero(turns[:, 0] == _ACROSS[plane])[0])
    last = header.shape[axis] - 1
    if not all(0 <= n <= last for n in numbers):
        raise UnreadableImageError(f"has {last + 1} {plane} slices, and not one for each number.")
    places = [n if turns[axis, 1] > 0 else last - n for n in numbers]
    whole = tally is not None and header.dtype.names is None
    wanted = set(places) if axis == 2 and not whole else None
    parts: dict[int, list[NDArray[Any]]] = {place: [] for place in places}
    for first, block in blocks(header, time_point, wanted):
        if whole and tally is not None:
            tally.add(block)
        for place in parts:
            if axis < 2:
                parts[place].append(show(block.take(place, axis=axis)))
            elif first <= place < first + block.shape[2]:
                parts[place].append(show(block[:, :, place - first]))
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


def _colour(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values, dtype=np.uint8)


def _shown(
    low: float, high: float, values: NDArray[Any], numbered: list[bool] | None = None
) -> NDArray[np.uint8]:
    """Values between black and white, what is no number black; ``numbered``: whether any is one."""
    if numbered is not None:
        numbered.append(bool(np.isfinite(values).any()))
    scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1.0))
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)).astype(np.uint8)


def shown_to_stored(
    header: NiftiHeader, shown: NDArray[Any], *, plane: str = "axial"
) -> NDArray[Any]:
    """Slices ``(n, H, W)`` as they are shown, put back into the order of the file's axes."""
    turns = _turns(header)
    axis = int(np.flatnonzero(turns[:, 0] == _ACROSS[plane])[0])
    left = [a for a in range(3) if a != axis]
    stored = np.zeros(header.shape, dtype=shown.dtype)
    last = header.shape[axis] - 1
    for number, one in enumerate(shown):
        values = one.swapaxes(0, 1)[::-1, ::-1]
        if turns[left[0], 0] > turns[left[1], 0]:
            values = values.swapaxes(0, 1)
        for place, kept in enumerate(left):
            if turns[kept, 1] < 0:
                values = np.flip(values, place)
        at = number if turns[axis, 1] > 0 else last - number
        stored[(slice(None),) * axis + (at,)] = values
    return stored
