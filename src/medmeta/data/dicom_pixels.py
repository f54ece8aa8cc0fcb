"""Pixels of a DICOM scan: as they were stored, in the scanner's units, and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.bit_depth import grey_if_equal
from medmeta.data.dicom_grey import (
    Levels,
    asked_levels,
    full_levels,
    own_window,
    range_levels,
)
from medmeta.data.dicom_stored import Stored, read_stored
from medmeta.data.scan import Scan
from medmeta.data.windows import CT_DEFAULT, NAMED, Window, misfit, parse_window
from medmeta.errors import UnreadableImageError

if TYPE_CHECKING:
    from pydicom import Dataset


def dicom_values(scan: Scan, number: int) -> NDArray[Any]:
    """A slice in the scanner's units: after its rescale slope and intercept, or its look-up table.

    ``(H, W)``, or ``(H, W, 3)`` for colour, which has no such units. Raises
    ``UnreadableImageError`` that names the scan.
    """
    stored = _stored(scan, number)
    return stored.values if stored.rgb else _rescaled(stored)


def read_dicom_slice(scan: Scan, number: int, *, window: str | None = None) -> NDArray[np.uint8]:
    """A slice as a picture of 8 bits, ``(H, W)`` or ``(H, W, 3)``, black being 0.

    ``window``: a named one or ``"centre,width"``; None or ``file``: the file's own. Where a CT has
    none it is shown from -160 to 240 HU; any other scan of more than 8 bits from the 0.5th to the
    99.5th percentile of the slice. Raises ``UnreadableImageError`` that names the scan.
    """
    asked = None if window is None else parse_window(window)
    if asked is not None:
        wrong = misfit(asked, scan.modality)
        if wrong:
            raise UnreadableImageError(f"{scan.where}: {wrong}")
    stored = _stored(scan, number)
    try:
        picture = _picture(stored, asked, scan.modality)
    except Exception as error:  # look-up tables of damaged headers raise almost anything
        raise UnreadableImageError(
            f"{scan.where}: has a damaged DICOM header; export it again."
        ) from error
    return np.ascontiguousarray(picture)


def _stored(scan: Scan, number: int) -> Stored:
    path, frame = scan.files[0], number
    if len(scan.files) > 1:
        path, frame = scan.files[number], 0
    elif scan.frames and 0 <= number < len(scan.frames):
        frame = scan.frames[number]
    try:
        return read_stored(path, frame)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{scan.where}: {error}") from error.__cause__


def _rescaled(stored: Stored) -> NDArray[Any]:
    """In the scanner's units."""
    from pydicom.pixels.processing import apply_modality_lut

    if stored.header.get("ModalityLUTSequence"):
        found: NDArray[Any] = apply_modality_lut(stored.values, stored.header)
        return found
    slope, intercept = _rescale(stored)
    if slope is None:
        return stored.values
    return stored.values.astype(np.float64) * slope + intercept


def _rescale(stored: Stored) -> tuple[float | None, float]:
    """Slope and intercept of a frame, its own where frames differ; None where there are none."""
    holder = _of_frame(stored, "PixelValueTransformationSequence")
    slope = holder.get("RescaleSlope")
    if slope is None:
        return None, 0.0
    return float(slope), float(holder.get("RescaleIntercept") or 0.0)


def _of_frame(stored: Stored, name: str) -> Dataset:
    """What an enhanced file says of a frame: its own group, or all frames'; else the header."""
    each = stored.header.get("PerFrameFunctionalGroupsSequence") or []
    shared = stored.header.get("SharedFunctionalGroupsSequence") or []
    own = [each[stored.frame]] if stored.frame < len(each) else []
    for groups in [*own, *shared]:
        found = groups.get(name)
        if found:
            group: Dataset = found[0]
            return group
    return stored.header


def _picture(stored: Stored, asked: Window | None, modality: str | None) -> NDArray[Any]:
    """8 bits, ``(H, W)`` or ``(H, W, 3)``."""
    header = stored.header
    photometric = str(header.get("PhotometricInterpretation") or "")
    if stored.rgb:
        return grey_if_equal(_eight_bits(stored.values, int(header.get("BitsStored") or 8)))
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        colours = apply_color_lut(stored.values, header)
        return grey_if_equal(_eight_bits(colours, 8 * colours.dtype.itemsize))
    inverted = photometric == "MONOCHROME1"
    voi = _of_frame(stored, "FrameVOILUTSequence")
    tables = [name for name in ("ModalityLUTSequence", "VOILUTSequence") if header.get(name)]
    if tables and asked is None:
        return _looked_up(stored, inverted=inverted)
    if "ModalityLUTSequence" in tables:
        return _levels(asked, 1.0, 0.0, inverted).of(_rescaled(stored))
    slope, intercept = _rescale(stored)
    scale = 1.0 if slope is None else slope
    if asked is not None:
        return _levels(asked, scale, intercept, inverted).of(stored.values)
    own = own_window(voi)
    if own is not None:
        return Levels(scale, intercept, *own, inverted).of(stored.values)
    return _without_window(stored, slope, intercept, modality, inverted=inverted)


def _levels(asked: Window | None, slope: float, intercept: float, inverted: bool) -> Levels:
    assert asked is not None
    return asked_levels(asked, slope, intercept, inverted=inverted)


def _without_window(
    stored: Stored, slope: float | None, intercept: float, modality: str | None, *, inverted: bool
) -> NDArray[np.uint8]:
    """As it is shown where neither the user nor the file says how."""
    header, values = stored.header, stored.values
    bits = int(header.get("BitsStored") or 8 * values.dtype.itemsize)
    if modality == "CT" and slope is not None:
        window = Window(CT_DEFAULT, *NAMED[CT_DEFAULT])
        return asked_levels(window, slope, intercept, inverted=inverted).of(values)
    if values.dtype.kind == "u" and bits <= 8:
        return full_levels(bits, inverted=inverted).of(values)
    padding = header.get("PixelPaddingValue")
    falling = slope is not None and slope < 0
    known = float(padding) if isinstance(padding, int | float) else None
    return range_levels(values, known, inverted=inverted != falling).of(values)


def _looked_up(stored: Stored, *, inverted: bool) -> NDArray[np.uint8]:
    """By the file's own tables: first to units, then to grey levels."""
    from pydicom.pixels.processing import apply_voi_lut

    units = _rescaled(stored)
    if not stored.header.get("VOILUTSequence"):
        own = own_window(stored.header)
        if own is not None:
            return Levels(1.0, 0.0, *own, inverted).of(units)
        return range_levels(units, None, inverted=inverted).of(units)
    shown = apply_voi_lut(units, stored.header)
    descriptor = stored.header.VOILUTSequence[0].LUTDescriptor
    return full_levels(int(descriptor[2]), inverted=inverted).of(shown)


def _eight_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    return full_levels(bits, inverted=False).of(values)
