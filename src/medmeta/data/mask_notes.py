"""What should be known of masks that are used: warnings, each for one mask or for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Problem
from medmeta.data.mask_shape import UNLABELLED


def notes_on_masks(notes: Iterable[tuple[str, str]]) -> list[Problem]:
    """A warning for each image's name and note, but where the note is empty.

    >>> notes_on_masks([("a.dcm", ""), ("b.dcm", "structures overlap.")])
    [Problem(severity='warning', where='b.dcm', what='its mask: structures overlap.', ...)]
    """
    return [Problem("warning", where, f"its mask: {note}") for where, note in notes if note]


def said_of_unlabelled(masks: Sequence[NDArray[Any]], *, where: str) -> list[Problem]:
    """A warning where some masks hold 255 alone, and others the number of a structure."""
    numbers = [set(np.unique(mask).tolist()) - {0} for mask in masks]
    alone = sum(one == {UNLABELLED} for one in numbers)
    if not alone or not any(one - {UNLABELLED} for one in numbers):
        return []
    what = (
        f"of {alone} of its {len(masks)} masks the only number is 255, which means not labelled "
        "where other masks have smaller ones. If it is the structure there, save all masks with "
        "one number."
    )
    return [Problem("warning", where, what)]
