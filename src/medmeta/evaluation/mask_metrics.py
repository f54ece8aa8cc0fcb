"""What is measured of masks: overlap by arithmetic, distances of surfaces by MONAI.

Conventions for empty masks: where neither the truth nor the answer marks a structure, Dice and IoU
are 1; where one of both does, 0. Distances and errors of area are not defined (NaN) where the truth
is empty, and surface Dice is 0 where the answer alone is. Pixels that are not labelled never count.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.errors import MissingExtraError

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
TOLERANCE = 1.0


def overlap(predicted: Labels, truth: Labels, size: int, *, axes: int = 2) -> dict[str, Array]:
    """Dice, IoU and the relative error of the area of masks, each ``(..., size - 1)``.

    ``predicted`` and ``truth`` ``(..., *space)``, space of so many ``axes``, -1 in the truth where
    nothing is known; the background is not measured.

    >>> overlap(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]]), 2)["dice"]
    array([0.66666667])
    """
    known, over = truth >= 0, tuple(range(-axes, 0))
    found: dict[str, list[Array]] = {"dice": [], "iou": [], "area_error": []}
    for structure in range(1, size):
        given, wanted = (predicted == structure) & known, truth == structure
        both = (given & wanted).sum(over).astype(np.float64)
        n_given, n_wanted = given.sum(over), wanted.sum(over)
        total = (n_given + n_wanted).astype(np.float64)
        empty = total == 0
        found["dice"].append(np.where(empty, 1.0, 2 * both / np.maximum(total, 1)))
        found["iou"].append(np.where(empty, 1.0, both / np.maximum(total - both, 1)))
        error = np.abs(n_given - n_wanted) / np.maximum(n_wanted, 1)
        found["area_error"].append(np.where(n_wanted > 0, error, np.nan))
    return {name: np.stack(parts, axis=-1) for name, parts in found.items()}


def mask_metrics(predicted: Labels, truth: Labels, size: int) -> dict[str, Array]:
    """Means over queries and structures of ``T`` tasks, each ``(T,)``; ``(T, Q, *space)`` given."""
    found = overlap(predicted, truth, size, axes=truth.ndim - 2)
    return {name: _mean(v, (1, 2)) for name, v in found.items()}


def structure_metrics(
    predicted: Labels, truth: Labels, size: int, *, distances: bool = False
) -> dict[str, Array]:
    """The same of each structure, ``(T, size - 1)``: means over queries where it is defined.

    ``distances``: also HD95 and surface Dice in pixels, and clDice of centre lines.
    """
    axes = truth.ndim - 2
    each = overlap(predicted, truth, size, axes=axes)
    if distances:
        tasks = range(len(truth))
        single = (1.0,) * axes
        apart = [surfaces(predicted[t], truth[t], size, spacing=single) for t in tasks]
        each |= {name: np.stack([one[name] for one in apart]) for name in ("hd95", "surface_dice")}
        each["centreline_dice"] = np.array(
            [
                [
                    [
                        centreline_dice((given == k) & (wanted >= 0), wanted == k)
                        for k in range(1, size)
                    ]
                    for given, wanted in zip(predicted[t], truth[t], strict=True)
                ]
                for t in tasks
            ]
        )
    return {name: _mean(values, 1) for name, values in each.items()}


def _mean(values: Array, axes: int | tuple[int, ...]) -> Array:
    """Means of what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0).sum(axes), known.sum(axes)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))


def surfaces(
    predicted: Labels,
    truth: Labels,
    size: int,
    *,
    spacing: Sequence[float] = (1.0, 1.0),
    tolerance: float = TOLERANCE,
) -> dict[str, Array]:
    """HD95 and surface Dice of ``n`` masks ``(n, *space)``, each ``(n, size - 1)``, by MONAI.

    Space has two or three axes, and ``spacing`` is that along each; HD95 and ``tolerance`` have its
    unit (pixels, where it is 1). Raises ``MissingExtraError`` without MONAI.
    """  # fmt: skip
    import torch

    try:
        monai: Any = importlib.import_module("monai.metrics")
    except ImportError:
        raise MissingExtraError("monai", "segmentation", "measuring distances of masks") from None
    shape = (len(truth), size - 1)
    hd95, near = np.full(shape, np.nan), np.zeros(shape)
    for number in range(1, size):
        given = (predicted == number) & (truth >= 0)
        wanted = truth == number
        axes = tuple(range(1, truth.ndim))
        told, there = given.any(axes), wanted.any(axes)
        near[~told & ~there, number - 1] = 1.0
        rows = np.flatnonzero(told & there)
        if not len(rows):
            continue
        pair = [torch.from_numpy(m[rows][:, None].astype(np.float32)) for m in (given, wanted)]
        with warnings.catch_warnings():  # of MONAI's own calls that it has deprecated
            warnings.simplefilter("ignore")
            hd95[rows, number - 1] = monai.compute_hausdorff_distance(
                *pair, include_background=True, percentile=95, spacing=list(spacing)
            )[:, 0]
            near[rows, number - 1] = monai.compute_surface_dice(
                *pair, class_thresholds=[tolerance], include_background=True, spacing=list(spacing)
            )[:, 0]
    return {"hd95": hd95, "surface_dice": near}


def _skeleton(morphology: Any, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The centre lines; all of a block that is thinned to nothing, as small ones in space are."""
    found = np.asarray(morphology.skeletonize(mask), dtype=bool)
    return found if found.any() else mask


def centreline_dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """ClDice of one mask of vessels, of two or three axes, its skeletons by scikit-image.

    Shit et al. 2021, equations 1 and 2. Raises ``MissingExtraError`` without scikit-image.
    """
    try:
        morphology: Any = importlib.import_module("skimage.morphology")
    except ImportError:
        raise MissingExtraError("scikit-image", "segmentation", "measuring centre lines") from None
    if not predicted.any() and not truth.any():
        return 1.0
    if not predicted.any() or not truth.any():
        return 0.0
    given, wanted = (_skeleton(morphology, mask) for mask in (predicted, truth))
    precision = float((given & truth).sum() / max(1, given.sum()))
    sensitivity = float((wanted & predicted).sum() / max(1, wanted.sum()))
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0
