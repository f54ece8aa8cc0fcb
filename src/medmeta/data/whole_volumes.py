"""Volumes that are learned whole: slices as one array, and whether their voxels are alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Problem, SourceIndex
from medmeta.data.medical import read_slices, slices_of
from medmeta.data.preprocess import Preprocessing, content_hash, prepare
from medmeta.data.resampled import LEAVE_OUT, at_spacing
from medmeta.data.scan import Scan
from medmeta.data.slices import spread_slices
from medmeta.data.slides import SLIDE
from medmeta.data.store import Decoded
from medmeta.errors import UnreadableImageError

NO_VOLUME = (
    "is a picture, and whole volumes are asked for; leave out --depth and --patches, or leave "
    "out pictures with --skip-bad."
)
ALIKE = 1.25  # voxels whose sides differ by less count as of one size
_AXES = ("between slices", "between rows", "between columns")


def whole_volume(
    slices: Sequence[NDArray[np.uint8]], preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """Slices as they were read, in order, as one volume ``(C, D, size, size)``."""
    return np.stack([prepare(pixels, preprocessing) for pixels in slices], axis=1)


def read_whole(scan: Scan, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """A scan as one volume ``(C, D, size, size)``.

    Raises ``UnreadableImageError`` that names it, also for a single picture.
    """
    n = slices_of(scan, preprocessing)
    if n < 2 and scan.kind != SLIDE:
        raise UnreadableImageError(f"{scan.where}: {NO_VOLUME}")
    if preprocessing.spacing_mm is not None:
        return at_spacing(read_slices(scan, range(n), preprocessing), scan, preprocessing)
    slices = _each_once(scan, spread_slices(n, preprocessing.depth), preprocessing)
    return whole_volume(slices, preprocessing)


def read_volume(scan: Scan, preprocessing: Preprocessing) -> Decoded:
    """The same for a store: what cannot be read is a reason, without the scan's name."""
    try:
        return _hashed(read_whole(scan, preprocessing))
    except UnreadableImageError as error:
        return Decoded(None, reason=str(error).removeprefix(f"{scan.where}: "))


def _hashed(volume: NDArray[np.uint8]) -> Decoded:
    return Decoded(volume, content_hash(np.concatenate(list(volume[0]))))


def volumes_of_array(
    pictures: Iterator[NDArray[np.uint8]],
    depth: int,
    rows: Sequence[int],
    preprocessing: Preprocessing,
) -> Iterator[Decoded]:
    """Some volumes of an array whose slices come one after the other; ``rows`` ascend."""
    wanted = set(rows)
    slices: list[NDArray[np.uint8]] = []
    for number, pixels in enumerate(pictures):
        row, place = divmod(number, depth)
        if row not in wanted:
            continue
        slices.append(np.array(pixels))
        if place == depth - 1:
            chosen = spread_slices(depth, preprocessing.depth)
            yield _hashed(whole_volume([slices[i] for i in chosen], preprocessing))
            slices = []


def spacing_problems(index: SourceIndex, preprocessing: Preprocessing) -> list[Problem]:
    """Whether volumes of a source have voxels of different sizes, where that is not allowed.

    What is not known of a volume is not compared.
    """
    if preprocessing.spacing_mm is not None and not index.scans:
        what = f"its volumes do not say how large their voxels are; {LEAVE_OUT}"
        return [Problem("error", index.name, what)]
    scans = [scan for scan in index.scans if scan is not None and scan.n_slices > 1]
    if not preprocessing.depth or preprocessing.spacing != "same" or len(scans) < 2:
        return []
    found = []
    for axis, words in enumerate(_AXES):
        known = [s.spacing[axis] for s in scans]
        steps = [step for step in known if step]
        if steps and max(steps) > ALIKE * min(steps):
            found.append(f"{min(steps):.3g} to {max(steps):.3g} mm {words}")
    if not found:
        return []
    what = (
        f"its volumes have voxels of different sizes ({', '.join(found)}); say --spacing 2, for "
        "example, to have all brought to 2 mm, or --spacing any to have each stretched to the same "
        "grid."
    )
    return [Problem("error", index.name, what)]


def _each_once(
    scan: Scan, numbers: Sequence[int], preprocessing: Preprocessing
) -> list[NDArray[np.uint8]]:
    """Slices by number, of which those that are wanted several times are read once."""
    different = sorted(set(numbers))
    read = dict(zip(different, read_slices(scan, different, preprocessing), strict=True))
    return [read[number] for number in numbers]
