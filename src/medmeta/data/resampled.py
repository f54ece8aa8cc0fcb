"""Volumes brought to another grid: that of another file, or voxels of a stated size.

Slices of 8 bits are resampled, which all have one window, by SciPy; nothing is registered. What
lies beyond a volume is black.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medmeta.data.medical import read_slices, slices_of
from medmeta.data.nifti import affine_as_shown
from medmeta.data.preprocess import Preprocessing
from medmeta.data.scan import Scan
from medmeta.errors import UnreadableImageError

Slices = list[NDArray[np.uint8]]
LEAVE_OUT = "leave out the millimetres of --spacing, or say --spacing any."
HAIR = 1e-6  # of a voxel, that rounding may add
_ORDERS = {"nearest": 0, "linear": 1}
_PLANE_AXES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


def on_grid_of(
    first: Scan, scan: Scan, numbers: Sequence[int], preprocessing: Preprocessing
) -> Slices:
    """A NIfTI scan as it would look in some slices of ``first``, by where both lie in space.

    Raises ``UnreadableImageError`` for colours, or where the two do not overlap.
    """
    plane, order = preprocessing.plane, _ORDERS[preprocessing.resample]
    volume = _grey_volume(scan, preprocessing)
    ours, theirs = affine_as_shown(first, plane), affine_as_shown(scan, plane)
    across = np.linalg.inv(theirs) @ ours
    height, width = _shown_shape(first, plane)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    found, inside = [], False
    for number in numbers:
        at = np.stack([np.full_like(rows, number), rows, columns, np.ones_like(rows)])
        places = np.einsum("ij,jrc->irc", across[:3], at)
        sampled, reached = _sampled(volume, places, order)
        found.append(sampled)
        inside = inside or reached
    if not inside:
        raise UnreadableImageError(
            f"{scan.where}: lies beside the modality whose grid it is brought to; register them "
            "first."
        )
    return found


def at_spacing(
    slices: Sequence[NDArray[np.uint8]], scan: Scan, preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """All slices of a scan as ``(C, D, size, size)`` of voxels of the stated size.

    The middle of the volume is the middle of what is given. Linear; first smoothed along the axes
    that lose voxels, as scikit-image's ``resize`` does. Raises ``UnreadableImageError`` where the
    size of its voxels is not known, or for colours.
    """
    factors = factors_to_spacing(scan, preprocessing)
    volume = np.stack(_grey(scan, slices)).astype(np.float32)
    if any(factor > 1 for factor in factors):
        volume = _ndimage().gaussian_filter(volume, [max(0.0, (f - 1) / 2) for f in factors])
    size = (preprocessing.depth, preprocessing.size, preprocessing.size)
    lines = [
        (n - 1) / 2 + (np.arange(m) - (m - 1) / 2) * factor
        for n, m, factor in zip(volume.shape, size, factors, strict=True)
    ]
    places = np.stack(np.meshgrid(*lines, indexing="ij"))
    found, _ = _sampled(volume, places, 1)
    grey = np.rint(np.clip(found, 0, 255)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey, (preprocessing.channels, *size)))


def _sampled(
    volume: NDArray[Any], places: NDArray[np.float64], order: int
) -> tuple[NDArray[Any], bool]:
    """Values at ``places`` ``(3, …)``, and whether any lies inside.

    A voxel reaches half its length beyond its middle; further out all is black.
    """
    last = np.array(volume.shape, dtype=np.float64).reshape(3, *(1,) * (places.ndim - 1)) - 1
    within = np.clip(places, 0, last)
    # Rounding puts a place of the volume's own edge a hair beyond it, which SciPy makes black.
    inside = (np.abs(places - within) <= 0.5 + HAIR).all(0)
    found = _ndimage().map_coordinates(volume, within, order=order, mode="nearest")
    return np.where(inside, found, 0).astype(found.dtype), bool(inside.any())


def steps_as_shown(scan: Scan, plane: str) -> tuple[float | None, float | None, float | None]:
    """Mm between slices, rows and columns as they are shown; None where it is not known."""
    # Series keep the slices that were taken; NIfTI is cut.
    axes = _PLANE_AXES[plane if scan.kind == "nifti" else "axial"]
    between, rows, columns = (scan.spacing[axis] for axis in axes)
    return abs(between) if between else None, rows, columns


def voxel_size(scan: Scan | None, plane: str) -> tuple[float, float, float] | None:
    """The same where all three are known, else None."""
    between, rows, columns = (None,) * 3 if scan is None else steps_as_shown(scan, plane)
    return (between, rows, columns) if between and rows and columns else None


def factors_to_spacing(
    scan: Scan | None, preprocessing: Preprocessing
) -> tuple[float, float, float]:
    """How many of a scan's voxels a voxel of the stated size is long, along each axis.

    Raises ``UnreadableImageError`` where the size of its voxels is not known.
    """
    wanted, known = preprocessing.spacing_mm, voxel_size(scan, preprocessing.plane)
    if wanted is None or known is None:
        where = "it" if scan is None else scan.where
        raise UnreadableImageError(f"{where}: does not say how large its voxels are; {LEAVE_OUT}")
    return wanted / known[0], wanted / known[1], wanted / known[2]


def _shown_shape(scan: Scan, plane: str) -> tuple[int, int]:
    sides = (scan.n_slices, *scan.shape)
    _, rows, columns = _PLANE_AXES[plane]
    return sides[rows], sides[columns]


def _grey_volume(scan: Scan, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    numbers = range(slices_of(scan, preprocessing))
    return np.stack(_grey(scan, read_slices(scan, numbers, preprocessing)))


def _grey(scan: Scan, slices: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.uint8]]:
    if any(pixels.ndim != 2 for pixels in slices):
        raise UnreadableImageError(f"{scan.where}: is in colour, and colours are not resampled.")
    return slices


def _ndimage() -> ModuleType:
    """SciPy's filters; imported only where something is resampled, for it takes a while."""
    from scipy import ndimage

    return cast(ModuleType, ndimage)
