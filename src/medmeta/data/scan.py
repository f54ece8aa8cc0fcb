"""A scan: a picture, a volume of slices, or a signal, found in files and not decoded yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medmeta.data.index import Problem


@dataclass(frozen=True)
class Scan:
    """What DICOM, NIfTI or WFDB files hold, as far as it is known before any pixel is decoded.

    ``where`` names it in messages, from its source's folder. ``files`` has one file for each slice,
    in order along the volume, or one file that holds all ``n_slices``; then ``frames`` has theirs
    in order along the volume, where that is known. ``shape`` is ``(H, W)`` of a
    slice, or of a signal its leads and samples (0: not known yet); ``spacing`` is in mm, between
    slices, rows and columns, None where it is not known. ``modality`` is as DICOM abbreviates it
    (CT, MR, US); ``transfer_syntax`` how DICOM packs the pixels, in words. ``patient``, ``study``
    and ``series`` are pseudonyms, never what the header says; ``others`` are columns to group by
    (``device``, ``sex``). ``problems`` are what is worth saying of this scan alone.
    """

    kind: Literal["dicom", "nifti", "signal", "slide"]
    where: str
    files: tuple[Path, ...]
    n_slices: int
    shape: tuple[int, int]
    spacing: tuple[float | None, float | None, float | None] = (None, None, None)
    modality: str | None = None
    photometric: str | None = None
    transfer_syntax: str | None = None
    patient: str | None = None
    study: str | None = None
    series: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    frames: tuple[int, ...] = ()


def where_from(path: Path, root: Path) -> str:
    """A file's name in messages: its path from its source's folder.

    >>> where_from(Path("a/b/c.hea"), Path("a"))
    'b/c.hea'
    """
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
