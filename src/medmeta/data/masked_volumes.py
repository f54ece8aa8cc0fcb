"""Volumes with masks as a source: each whole, or cut into patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from medmeta.data.listing import ScannedSource
from medmeta.data.mask_patches import MaskOf, patches_source
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import read_scanned
from medmeta.data.volume_grid import grid_of, mask_on_grid


def masked_volumes(
    found: ScannedSource,
    mask_of: MaskOf,
    preprocessing: Preprocessing,
    *,
    cache: Path | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """Volumes that were listed, as ``preprocessing.depth`` asks for them, with their masks.

    Raises as ``open_source`` does.
    """
    if preprocessing.patches:
        return patches_source(
            found.index, mask_of, preprocessing, skip_bad=skip_bad, progress=progress
        )
    source = read_scanned(
        found, preprocessing=preprocessing, cache=cache, skip_bad=skip_bad, progress=progress
    )
    masks = []
    for row, scan in enumerate(found.index.scans):
        mask = mask_of(row)
        n, height, width = mask.shape
        grid = grid_of(scan, (n, height, width), preprocessing)
        masks.append(mask_on_grid(mask, grid, preprocessing))
    return replace(source, masks=np.stack(masks))
