"""Volumes as slices: which of them are used, and a table with a row for each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medmeta.data.index import Column, SourceIndex
from medmeta.data.medical import slices_of
from medmeta.data.preprocess import Preprocessing
from medmeta.data.scan import Scan
from medmeta.data.slides import SLIDE
from medmeta.data.windows import OWN


def chosen_slices(depth: int, wanted: int) -> tuple[int, ...]:
    """Numbers, from 0, of the slices that stand for a volume of ``depth`` slices.

    They lie evenly in its middle half, or in as much more as they need; one is the middle one.

    >>> chosen_slices(20, 1), chosen_slices(20, 4), chosen_slices(3, 5)
    ((10,), (6, 8, 11, 13), (0, 1, 2))
    """
    count = min(wanted, depth)
    span = max(depth / 2, count)
    first = (depth - span) / 2
    return tuple(int(first + span * (2 * i + 1) / (2 * count)) for i in range(count))


def spread_slices(depth: int, wanted: int) -> tuple[int, ...]:
    """Numbers, from 0, of ``wanted`` slices that make up a whole volume of ``depth`` slices.

    Each is the slice that lies at the middle of its share of the volume.

    >>> spread_slices(6, 3), spread_slices(2, 4)
    ((1, 3, 5), (0, 0, 1, 1))
    """
    return tuple(int((i + 0.5) * depth / wanted) for i in range(wanted))


def used_slices(scan: Scan, preprocessing: Preprocessing) -> tuple[int, ...]:
    """Numbers of the slices that stand for a volume, or of the tiles that stand for a slide.

    Tiles lie evenly over all that show tissue.
    """
    n = slices_of(scan, preprocessing)
    if scan.kind == SLIDE:
        return spread_slices(n, min(n, preprocessing.slices))
    return chosen_slices(n, preprocessing.slices)


def parts_in_words(preprocessing: Preprocessing) -> tuple[str, str]:
    """What a source's rows are called that belong together, and what they belong to.

    >>> parts_in_words(Preprocessing())
    ('slices', 'volumes')
    """
    return ("tiles", "slides") if preprocessing.tiled else ("slices", "volumes")


def slices_in_words(preprocessing: Preprocessing) -> str:
    """Which slices of a volume are used.

    >>> slices_in_words(Preprocessing(slices=3, window="lung"))
    '3 slices in its middle half, window lung, NIfTI cut axial'
    """
    n, whole = preprocessing.slices, preprocessing.depth
    if preprocessing.tiled:
        tile, mpp = preprocessing.tile, preprocessing.mpp
        size = f"of {tile} pixels" if tile else f"of {mpp:g} µm a pixel"
        return f"{whole or n} tiles {size}, spread over its tissue{', as one input' * bool(whole)}"
    which = "its middle slice" if n == 1 else f"{n} slices in its middle half"
    if whole:
        which = f"{whole} slices over all of it, as one input"
    if preprocessing.patches:
        which = f"{preprocessing.patches} patches of {whole} slices"
    window = "of the file" if preprocessing.window == OWN else preprocessing.window
    time = "" if preprocessing.time_point == 1 else f", volume {preprocessing.time_point} in time"
    return f"{which}, window {window}, NIfTI cut {preprocessing.plane}{time}"


def answered_in_words(preprocessing: Preprocessing) -> str:
    """What volumes or slides are called, and how each of them is answered.

    >>> answered_in_words(Preprocessing(slices=2))[:58]
    'volumes; the answer to each is the mean of those to its sl'
    """
    slices, volumes = parts_in_words(preprocessing)
    how = slices_in_words(preprocessing)
    if preprocessing.depth:
        return f"{volumes}, each answered as one ({how})"
    return f"{volumes}; the answer to each is the mean of those to its {slices} ({how})"


def as_slices(index: SourceIndex, preprocessing: Preprocessing, *, depth: int = 0) -> SourceIndex:
    """The table with a row for each slice that is used of a volume; pictures keep theirs.

    Volumes that are learned whole are a row each as they are. ``depth`` is that of the volumes of
    an npz, of which ``array_rows`` then count the slices one
    after the other. Rows of one volume have the same entry in the column ``volume``.
    """
    whole = preprocessing.depth or preprocessing.samples or not preprocessing.has_picture
    if whole or (not depth and not index.scans):
        return index
    chosen = []
    for row in range(len(index)):
        scan = index.scans[row] if index.scans else None
        if depth:
            first = int(index.array_rows[row]) * depth
            chosen.append([first + n for n in chosen_slices(depth, preprocessing.slices)])
        elif scan is not None:
            own = index.chosen[row] if index.chosen else None
            chosen.append(list(own or used_slices(scan, preprocessing)))
        else:
            chosen.append([int(index.array_rows[row])])
    rows = np.repeat(np.arange(len(index)), [len(numbers) for numbers in chosen])
    part = index.take(rows)
    numbers = np.array([n for listed in chosen for n in listed], dtype=np.int64)
    volumes = Column.from_texts(_volumes(index, depth)).take(rows)
    paths = tuple(
        path if scan is None or scan.kind == SLIDE or len(scan.files) != scan.n_slices
        else scan.files[number]
        for path, scan, number in zip(part.paths, part.scans, numbers.tolist(), strict=True)
    ) if part.scans else part.paths  # fmt: skip
    others = {**part.others, "volume": volumes}
    return replace(part, array_rows=numbers, paths=paths, others=others, chosen=())


def _volumes(index: SourceIndex, depth: int) -> list[str | None]:
    """What tells volumes apart: their series, for one may stand in several rows; else the row."""
    given = index.column("volume").texts()
    if depth:
        return [text or f"volume {row}" for row, text in enumerate(given)]
    return [
        text or (None if scan is None else scan.series or f"volume {row}")
        for row, (text, scan) in enumerate(zip(given, index.scans, strict=True))
    ]
