"""Where DICOM slices lie in space: which are one volume, in which order, how far apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

_SAME_DIRECTION = 1e-3  # of direction cosines: scanners write five digits or so
_SAME_PLACE = 1e-3  # mm
_EVEN = 0.02  # of the step: more is uneven

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where a file's picture lies; None where it does not say.

    ``normal`` ``(3,)`` is the slice's direction, ``height`` in mm where it lies along it;
    ``pixel_spacing`` between rows and between columns, ``step`` between a multi-frame file's
    frames, in mm; ``number`` is the instance number. ``frames``: the order of a multi-frame file's
    frames, where it says where each lies.
    """

    normal: Vector | None
    height: float
    pixel_spacing: tuple[float | None, float | None]
    step: float | None
    number: int
    frames: Order | None = None


@dataclass(frozen=True)
class Order:
    """Slices of one volume, in order; ``said`` is what is wrong with it."""

    members: tuple[int, ...]
    step: float | None
    said: tuple[str, ...]


def place_of(header: Dataset, frames: int) -> Place:
    """Read it off a header; what is written wrongly counts as not said."""
    orientation, position = (
        header.get("ImageOrientationPatient"),
        header.get("ImagePositionPatient"),
    )
    measures = _shared(header, "PixelMeasuresSequence")
    normal, height = None, 0.0
    along, at = _numbers(orientation, 6), _numbers(position, 3)
    if along is not None and at is not None:
        crossed = np.cross(along[:3], along[3:])
        length = float(np.linalg.norm(crossed))
        if length > 0.5:
            normal = crossed / length
            height = float(normal @ at)
    spacing = header.get("PixelSpacing") or measures.get("PixelSpacing")
    pair = _numbers(spacing or header.get("ImagerPixelSpacing"), 2)
    rows, columns = (float(pair[0]), float(pair[1])) if pair is not None else (None, None)
    step = _number(header.get("SpacingBetweenSlices") or measures.get("SpacingBetweenSlices"))
    if step is None:
        step = _number(header.get("SliceThickness") or measures.get("SliceThickness"))
    number = _number(header.get("InstanceNumber"))
    order = _order_of_frames(header, frames) if frames > 1 else None
    if order is not None:
        step = order.step
    return Place(normal, height, (rows, columns), step, int(number or 0), order)


def _order_of_frames(header: Dataset, frames: int) -> Order | None:
    """Frames of one file by where each lies; None where the file does not say."""
    heights = _heights_of_frames(header, frames)
    if heights is None:
        return None
    places = [Place(None, float(h), (None, None), None, n) for n, h in enumerate(heights)]
    return _ordered(places, range(frames))


def _heights_of_frames(header: Dataset, frames: int) -> Vector | None:
    """Mm along the slices' direction: of an enhanced file, or of a dose by its offsets."""
    offsets = _numbers(header.get("GridFrameOffsetVector"), frames)
    if offsets is not None:
        return offsets
    oriented = _shared(header, "PlaneOrientationSequence") or header
    along = _numbers(oriented.get("ImageOrientationPatient"), 6)
    each = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    if along is None or len(each) != frames:
        return None
    placed = [(groups.get("PlanePositionSequence") or [{}])[0] for groups in each]
    positions = [_numbers(one.get("ImagePositionPatient"), 3) for one in placed]
    known = [at for at in positions if at is not None]
    if len(known) < frames:
        return None
    heights: Vector = np.stack(known) @ np.cross(along[:3], along[3:])
    return heights


def volumes(places: Sequence[Place]) -> tuple[list[Order], list[int], list[str]]:
    """A series' files as volumes, those that stay pictures by themselves, and what was found.

    A volume has two slices or more, of one direction. Of several directions each is a volume.
    Nothing is resampled.
    """
    groups: list[list[int]] = []
    alone = []
    for i, place in enumerate(places):
        if place.normal is None:
            alone.append(i)
            continue
        for group in groups:
            first = places[group[0]].normal
            if first is not None and float(np.abs(first - place.normal).max()) < _SAME_DIRECTION:
                group.append(i)
                break
        else:
            groups.append([i])
    said = []
    if len(groups) > 1:
        said.append(
            f"its series has slices of {len(groups)} orientations, which were taken apart; each "
            "stands by itself, and nothing was resampled."
        )
    alone += [group[0] for group in groups if len(group) == 1]
    return [_ordered(places, group) for group in groups if len(group) > 1], sorted(alone), said


def _ordered(places: Sequence[Place], group: Sequence[int]) -> Order:
    members = sorted(group, key=lambda i: (round(places[i].height, 3), places[i].number, i))
    heights = np.array([places[i].height for i in members])
    gaps = np.diff(heights)
    said = []
    repeated = int((gaps < _SAME_PLACE).sum())
    if repeated:
        said.append(
            f"{repeated} of its slices lie where another does (several times or echoes?); they "
            "stand after each other."
        )
    real = gaps[gaps >= _SAME_PLACE]
    if not len(real):
        return Order(tuple(members), None, tuple(said))
    step = float(np.median(real))
    uneven = np.abs(real - step) > max(_EVEN * step, _SAME_PLACE)
    if uneven.any():
        shares = real[uneven] / step
        whole = bool((np.abs(shares - np.rint(shares)) < 0.1).all() and (shares > 1.5).all())
        if whole:
            n = int((np.rint(shares) - 1).sum())
            said.append(
                f"{n} slice{'' if n == 1 else 's'} seem to be missing (steps of {step:g} mm)."
            )
        else:
            low, high = float(real.min()), float(real.max())
            said.append(f"its slices lie unevenly, {low:g} to {high:g} mm apart.")
    return Order(tuple(members), step, tuple(said))


def _shared(header: Dataset, name: str) -> Any:
    """A group of an enhanced file that holds for all frames, or the first frame's."""
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for groups in list(header.get(sequence) or [])[:1]:
            found = groups.get(name)
            if found:
                return found[0]
    return {}


def _numbers(values: Any, n: int) -> Vector | None:
    if values is None or isinstance(values, str) or not hasattr(values, "__len__"):
        return None
    if len(values) != n:
        return None
    found = np.array([_number(v) if v is not None else math.nan for v in values], dtype=np.float64)
    return found if np.isfinite(found).all() else None


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
