"""Contours of radiotherapy structures (RTSTRUCT) as masks on the slices they were drawn on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medmeta.data.scan import Scan
from medmeta.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

Vector = NDArray[np.float64]
_OFF = 0.5  # of the step between slices: a contour further off lies between them
_FINE = 8  # parts of a pixel that an edge is placed to


def rasterised(header: Dataset, scan: Scan) -> tuple[NDArray[np.int64], dict[int, str], str]:
    """Numbers ``(n, H, W)``, what they stand for, and which structures overlap, in words.

    A pixel belongs where its middle lies, and where structures overlap to the smallest: an organ in
    the body stays whole. Raises ``DataError`` where contours lie off the scan's slices or beyond
    its edges, or where nothing is left of a structure.
    """
    planes = [_Plane(file) for file in scan.files]
    names = {int(r.ROINumber): str(r.ROIName) for r in header.get("StructureSetROISequence", [])}
    shape, inside = (len(planes), *scan.shape), {}
    for roi in header.get("ROIContourSequence", []):
        number = int(roi.ReferencedROINumber)
        name = names.get(number, f"structure {number}")
        drawn = np.zeros(shape, dtype=bool)
        for contour in roi.get("ContourSequence", []):
            if str(contour.get("ContourGeometricType")) != "CLOSED_PLANAR":
                continue
            points = np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
            at = _slice_of(points, planes)
            drawn[at] ^= _filled(planes[at].pixels(points), scan.shape)  # a hole is drawn twice
        if drawn.any():
            inside[f"{name} ({number})" if name in inside else name] = np.flatnonzero(drawn)
    if not inside:
        raise DataError("holds no closed contour; there is nothing marked in it.")
    masks, found, note = _together(inside, math.prod(shape))
    return masks.reshape(shape), found, note


def _together(
    inside: Mapping[str, NDArray[np.intp]], n_pixels: int
) -> tuple[NDArray[np.int64], dict[int, str], str]:
    """One number for each pixel, the smallest structures last; ``inside`` are places of each."""
    found = dict(enumerate(inside, start=1))
    masks = np.zeros(n_pixels, dtype=np.int64)
    for value in sorted(found, key=lambda value: -len(inside[found[value]])):
        masks[inside[found[value]]] = value
    cut = {}
    for value, name in found.items():
        left, drawn = int((masks[inside[name]] == value).sum()), len(inside[name])
        if not left:
            raise DataError(
                f"has nothing left of {name!r}, which smaller structures cover: a pixel belongs "
                "to one structure. Leave one of them out."
            )
        if left < drawn:
            cut[name] = 1 - left / drawn
    told = ", ".join(f"{name} by {share:.0%}" for name, share in cut.items())
    note = f"structures overlap, and the smaller keep what they share: less of {told}."
    return masks, found, note if cut else ""


class _Plane:
    """Where a slice lies in the patient."""

    def __init__(self, path: Any) -> None:
        import pydicom

        header = pydicom.dcmread(path, stop_before_pixels=True)
        try:
            self.origin = np.array(header.ImagePositionPatient, dtype=np.float64)
            along = np.array(header.ImageOrientationPatient, dtype=np.float64)
            self.spacing = np.array(header.PixelSpacing, dtype=np.float64)
        except (AttributeError, TypeError, ValueError):
            raise DataError(
                "has contours in mm, but its images do not say where they lie in the patient."
            ) from None
        self.across, self.down = along[:3], along[3:]
        self.normal = np.cross(self.across, self.down)
        self.height = float(self.origin @ self.normal)

    def pixels(self, points: Vector) -> Vector:
        """Points in mm as ``(column, row)``, a pixel's middle at whole numbers."""
        away = points - self.origin
        return np.stack(
            [away @ self.across / self.spacing[1], away @ self.down / self.spacing[0]], axis=1
        )


def _slice_of(points: Vector, planes: list[_Plane]) -> int:
    heights = np.array([plane.height for plane in planes])
    height = float((points @ planes[0].normal).mean())
    gaps = np.abs(heights - height)
    order = np.sort(heights)
    step = float(np.median(np.diff(order))) if len(order) > 1 else 1.0
    at = int(gaps.argmin())
    if gaps[at] > _OFF * step or np.ptp(points @ planes[0].normal) > _OFF * step:
        raise DataError(
            f"has a contour {gaps[at]:.1f} mm off the nearest slice: it was drawn on other images."
        )
    return at


def _filled(points: Vector, shape: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = shape
    if points.min() < -1 or points[:, 0].max() > width or points[:, 1].max() > height:
        raise DataError("has a contour that runs out of its images: it was drawn on other ones.")
    fine = Image.new("1", (width * _FINE, height * _FINE))
    corners = [tuple((point + 0.5) * _FINE) for point in points]
    ImageDraw.Draw(fine).polygon(corners, fill=1)
    middle = _FINE // 2
    return np.asarray(fine)[middle::_FINE, middle::_FINE]
