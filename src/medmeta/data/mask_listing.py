"""Pictures and scans with their masks, listed and not read yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Problem
from medmeta.data.listing import ScannedSource
from medmeta.data.manifest import Asked, read_manifest, row_errors
from medmeta.data.manifest_table import MANIFEST_SUFFIXES
from medmeta.data.mask_notes import notes_on_masks, said_of_unlabelled
from medmeta.data.mask_pairs import declared_structures, read_pairs
from medmeta.data.sources import row_name
from medmeta.errors import DataError


@dataclass(frozen=True)
class Pairs:
    """Pictures and scans that were listed, the mask's file of each, and what is declared."""

    found: ScannedSource
    files: tuple[Path, ...]
    declared: Mapping[int, str] | None

    def without(self, bad: Mapping[int, str]) -> Pairs:
        """Those whose masks can be used, with a warning for each of the others."""
        index = self.found.index
        rows = np.array([row for row in range(len(index)) if row not in bad], dtype=np.int64)
        if not len(rows):
            raise DataError(f"{self.found.path}: no image with a mask is left.")
        lost = tuple(
            Problem("warning", row_name(index, r), f"its mask {bad[r]}", left_out=True) for r in bad
        )
        part = replace(index.take(rows), problems=(*index.problems, *lost))
        files = tuple(self.files[row] for row in rows)
        return Pairs(replace(self.found, index=part), files, self.declared)

    def with_notes(self, numbers: Sequence[NDArray[Any]], notes: Sequence[str]) -> Pairs:
        """With a warning for each mask that has a note, and one of what 255 may mean.

        ``numbers`` are of the masks whose structures have no names of their own.
        """
        index = self.found.index
        names = (row_name(index, row) for row in range(len(index)))
        plain = () if self.declared is not None else numbers
        warnings = (
            *notes_on_masks(zip(names, notes, strict=True)),
            *said_of_unlabelled(plain, where=self.found.path.name),
        )
        part = replace(index, problems=(*index.problems, *warnings))
        return replace(self, found=replace(self.found, index=part))


def survey_pairs(path: Path, *, skip_bad: bool) -> Pairs:
    """What is there; problems are warnings where they may be skipped."""
    kind: Literal["folder", "manifest"]
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        index, kind = read_manifest(path, Asked(masks=True)), "manifest"
        files = [Path(str(text)) for text in index.others["mask"].texts()]
        others = {name: column for name, column in index.others.items() if name != "mask"}
        index = replace(index, others=others)
    elif path.is_dir():
        (index, files), kind = read_pairs(path), "folder"
    else:
        raise DataError(
            f"{path}: is no source of images with masks; name a folder with 'images' and 'masks', "
            "a manifest with the columns path and mask, or an npz with images and masks."
        )
    errors = [p for p in index.problems if p.severity == "error"]
    if skip_bad:
        softened = (
            replace(p, severity="warning", left_out=p.severity == "error") for p in index.problems
        )
        index = replace(index, problems=tuple(softened))
    elif errors and kind == "manifest":
        raise row_errors(path, errors)
    declared = declared_structures(path if path.is_dir() else path.parent)
    return Pairs(ScannedSource(index, None, kind, path), tuple(files), declared)
