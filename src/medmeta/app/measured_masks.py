"""Answers held against masks that are there: of each image and structure, and in all.

A volume is measured as one, in three dimensions. Lengths are in mm where the size of pixels is
known and in pixels where it is not. Conventions for empty masks are those of ``mask_metrics``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.app.asked import Asked
from medmeta.app.mask_answers import MarkedImage, Progressed, mark_each
from medmeta.app.mask_predictor import SavedMaskPredictor
from medmeta.data.mask_sources import TrueMasks, read_true_masks
from medmeta.data.medical import scan_place
from medmeta.evaluation.intervals import summarise
from medmeta.evaluation.mask_metrics import centreline_dice, overlap, surfaces

FIGURES = ("dice", "iou", "hd95", "surface_dice", "size_error", "centreline_dice")
HIGHER = {"dice", "iou", "surface_dice", "centreline_dice"}


def measured_images(
    predictor: SavedMaskPredictor,
    truth: TrueMasks,
    *,
    uncertainty: bool = False,
    tiles: bool = False,
    in_mm: bool = False,
    progress: Progressed | None = None,
) -> Iterator[MarkedImage]:
    """The images of a table marked one by one, each with its figures."""
    index = truth.index
    scans = index.scans or (None,) * len(index)
    asked = [
        Asked(path if scan is None else scan_place(scan), (), scan)
        for path, scan in zip(index.paths, scans, strict=True)
    ]
    marked = mark_each(
        predictor, asked, uncertainty=uncertainty, tiles=tiles, in_mm=in_mm, progress=progress
    )
    for one, mask in zip(marked, truth.masks, strict=True):
        yield replace(one, measured=measure(one, mask, len(predictor.structures)))


def true_masks(predictor: SavedMaskPredictor, path: Path) -> TrueMasks:
    """Masks of what the predictor learned; raises ``DataError``."""
    return read_true_masks(path, predictor.structures, preprocessing=predictor.preprocessing)


def measure(
    one: MarkedImage, truth: NDArray[np.int64], n_structures: int
) -> tuple[Mapping[str, float], ...]:
    """The figures of each structure; NaN where one is not defined.

    ``size_error`` is the difference of areas or volumes over the true one. Surface Dice counts what
    lies within one mm (one pixel) of the other surface.
    """
    given = one.mask.astype(np.int64)
    size = n_structures + 1
    known = [step for step in one.spacing if step]
    spacing = tuple(known) if len(known) == 3 else (1.0, 1.0, 1.0)
    pair = (given, truth)
    if len(truth) == 1:
        rows_columns = [step for step in one.spacing[1:] if step]
        spacing = tuple(rows_columns) if len(rows_columns) == 2 else (1.0, 1.0)
        pair = (given[0], truth[0])
    flat = [mask.reshape(1, -1, mask.shape[-1]) for mask in pair]
    shared = overlap(flat[0], flat[1], size)
    apart = surfaces(pair[0][None], pair[1][None], size, spacing=spacing)
    found = []
    for k in range(n_structures):
        inside = [(mask == k + 1) & (pair[1] >= 0) for mask in pair]
        found.append(
            {
                "dice": float(shared["dice"][0, k]),
                "iou": float(shared["iou"][0, k]),
                "hd95": float(apart["hd95"][0, k]),
                "surface_dice": float(apart["surface_dice"][0, k]),
                "size_error": float(shared["area_error"][0, k]),
                "centreline_dice": centreline_dice(inside[0], inside[1]),
            }
        )
    return tuple(found)


def in_all(
    figures: Sequence[Sequence[Mapping[str, float]]],
    structures: Sequence[str],
    groups: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Means by structure with 95 % intervals over groups: patients, or images of nobody known.

    Each is of the ``images`` in which it is defined: a distance is not where a structure is missed.
    """
    told = []
    for k, name in enumerate(structures):
        row: dict[str, Any] = {"structure": name, "images": len(figures)}
        for figure in FIGURES:
            values = np.array([one[k][figure] for one in figures])
            parts = [values[groups == group] for group in np.unique(groups)]
            means = [float(np.nanmean(v)) if (~np.isnan(v)).any() else np.nan for v in parts]
            # No figure is below 0, and no share of what is shared above 1; few images' may be so.
            most = 1.0 if figure in HIGHER else np.inf
            found = summarise(np.array(means), higher_is_better=figure in HIGHER).within(0, most)
            row[figure] = {
                key: None if value != value else value
                for key, value in (("mean", found.mean), ("low", found.low), ("high", found.high))
            }
            row[figure]["images"] = int((~np.isnan(values)).sum())
        told.append(row)
    return told


def groups_of(truth: TrueMasks) -> NDArray[np.int64]:
    """Who the images are of; those of nobody known stand for themselves."""
    codes = truth.index.patients.codes.astype(np.int64)
    alone = codes < 0
    return np.where(alone, codes.max(initial=0) + 1 + np.arange(len(codes)), codes)
