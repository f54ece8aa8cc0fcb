"""Images and volumes marked one after the other: read, answered, brought back to their own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.app.asked import Asked, find_asked
from medmeta.app.mask_predictor import SavedMaskPredictor
from medmeta.data.mask_pairs import images_to_mark
from medmeta.data.mask_patches import grey_slices
from medmeta.data.mask_shape import restored
from medmeta.data.medical import read_slices, slices_of
from medmeta.data.preprocess import Preprocessing, prepare
from medmeta.data.readers import read_image
from medmeta.data.resampled import steps_as_shown
from medmeta.errors import SettingsError, UnreadableImageError

_TOGETHER = 16
Progressed = Callable[[int, int], None]


@dataclass(frozen=True)
class MarkedImage:
    """An image, or all slices of a scan, as they are shown, and what is marked on each.

    ``shown`` are uint8 ``(H, W)`` or ``(H, W, 3)``, one or ``n``; ``mask`` uint8 ``(n, H, W)``;
    ``confidence`` ``(K,)`` is the mean probability within each structure (NaN where none is
    marked), ``expected_dice`` ``(K,)`` is without the truth, ``measured`` against it, of each
    structure. ``uncertainty`` ``(n, H, W)`` is None unless it was asked for. ``plane`` is that
    which a NIfTI volume was cut in.
    """

    asked: Asked
    shown: tuple[NDArray[np.uint8], ...]
    mask: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    expected_dice: NDArray[np.float64] | None = None
    uncertainty: NDArray[np.float32] | None = None
    plane: str = "axial"
    measured: tuple[Mapping[str, float], ...] = ()

    @property
    def spacing(self) -> tuple[float | None, float | None, float | None]:
        """In mm, between slices, rows and columns as shown; None where it is not known."""
        scan = self.asked.scan
        return (None, None, None) if scan is None else steps_as_shown(scan, self.plane)

    def size_of(self, structure: int) -> tuple[int, float | None]:
        """Pixels of a structure, and its area (mm²) or volume (mm³) where spacing is known."""
        n = int((self.mask == structure).sum())
        apart, rows, columns = self.spacing
        if rows is None or columns is None:
            return n, None
        if len(self.mask) == 1:
            return n, n * rows * columns
        return n, None if apart is None else n * rows * columns * abs(apart)


def mark_images(
    predictor: SavedMaskPredictor,
    paths: Sequence[Path],
    *,
    uncertainty: bool = False,
    tiles: bool = False,
    in_mm: bool = False,
    progress: Progressed | None = None,
) -> Iterator[MarkedImage]:
    """Read and mark images one by one; of a volume all slices.

    Of a folder of images and masks, as for ``adapt``, the images.
    ``tiles``: pictures are marked in overlapping parts of the prepared size, at their own scale.
    ``in_mm``: raises ``SettingsError`` for an image whose spacing is not known. Raises
    ``UnreadableImageError`` for the first that cannot be read.
    """
    if tiles and uncertainty:
        raise SettingsError("--uncertainty is of whole images; leave out --tiles.")
    found = find_asked([images_to_mark(path) for path in paths])
    if found.problems:
        raise UnreadableImageError("; ".join(text for _, text in found.problems[:3]))
    yield from mark_each(
        predictor, found.asked, uncertainty=uncertainty, tiles=tiles, in_mm=in_mm,
        progress=progress,
    )  # fmt: skip


def mark_each(
    predictor: SavedMaskPredictor,
    asked: Sequence[Asked],
    *,
    uncertainty: bool = False,
    tiles: bool = False,
    in_mm: bool = False,
    progress: Progressed | None = None,
) -> Iterator[MarkedImage]:
    """The same of images that were found already."""
    if in_mm:
        _check_spacing(asked, predictor.preprocessing)
    for done, item in enumerate(asked, start=1):
        yield _marked(predictor, item, uncertainty=uncertainty, tiles=tiles)
        if progress is not None:
            progress(done, len(asked))


def _check_spacing(asked: Sequence[Asked], preprocessing: Preprocessing) -> None:
    for item in asked:
        scan = item.scan
        apart, rows, columns = (None, None, None) if scan is None else scan.spacing
        several = scan is not None and slices_of(scan, preprocessing) > 1
        if rows is None or columns is None or (several and apart is None):
            raise SettingsError(
                f"{item.path}: --in-mm asks for areas or volumes in mm, and nothing says how large "
                "its pixels are; give DICOM or NIfTI with their spacing, or leave --in-mm out."
            )


def _marked(
    predictor: SavedMaskPredictor, asked: Asked, *, uncertainty: bool, tiles: bool
) -> MarkedImage:
    preprocessing = predictor.preprocessing
    if preprocessing.depth:
        return _marked_volume(predictor, asked, uncertainty=uncertainty, tiles=tiles)
    if asked.scan is None:
        shown = [read_image(asked.file or asked.path).pixels]
    else:
        numbers = range(slices_of(asked.scan, preprocessing))
        shown = read_slices(asked.scan, list(numbers), preprocessing)
    if tiles:
        from medmeta.app.tiles import tiled

        found, unsure, expected = [tiled(predictor, one) for one in shown], None, None
    else:
        found, unsure, expected = _whole(predictor, shown, uncertainty=uncertainty)
    found = along_slices(found)
    mask = np.stack([one.argmax(0).astype(np.uint8) for one in found])
    sure = [_confidence(found, mask, k) for k in range(1, len(predictor.structures) + 1)]
    certain = (np.array(sure), expected, unsure)
    return MarkedImage(asked, tuple(shown), mask, *certain, plane=preprocessing.plane)


def _marked_volume(
    predictor: SavedMaskPredictor, asked: Asked, *, uncertainty: bool, tiles: bool
) -> MarkedImage:
    """By a network over three axes."""
    from medmeta.app.volume_answers import mark_volume

    preprocessing, scan = predictor.preprocessing, asked.scan
    if tiles:
        raise SettingsError(
            "--tiles is of pictures, and this predictor marks volumes; leave it out (those learned "
            "with --patches are marked in overlapping blocks)."
        )
    if scan is None or slices_of(scan, preprocessing) < 2:
        raise UnreadableImageError(
            f"{asked.path}: is a picture, and this predictor marks volumes; give it NIfTI volumes "
            "or DICOM series."
        )
    shown = grey_slices(scan, preprocessing)
    found = mark_volume(predictor, scan, shown, uncertainty=uncertainty)
    return MarkedImage(
        asked, tuple(shown), found.mask, found.confidence, found.expected_dice, found.uncertainty,
        plane=preprocessing.plane,
    )  # fmt: skip


def _whole(
    predictor: SavedMaskPredictor, shown: Sequence[NDArray[np.uint8]], *, uncertainty: bool
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32] | None, NDArray[np.float64] | None]:
    """Probabilities ``(K + 1, H, W)`` of each picture, and what is said of their certainty."""
    preprocessing = predictor.preprocessing
    found, unsure, expected, sizes = [], [], [], []
    for first in range(0, len(shown), _TOGETHER):
        part = shown[first : first + _TOGETHER]
        prepared = np.stack([prepare(pixels, preprocessing) for pixels in part])
        answer = predictor.answer(prepared, uncertainty=uncertainty)
        for number, pixels in enumerate(part):
            height, width = pixels.shape[:2]
            found.append(restored(answer.probabilities[number], height, width, preprocessing))
            if answer.uncertainty is not None and answer.expected_dice is not None:
                entropy = answer.uncertainty[number][None]
                unsure.append(_restored_map(entropy, height, width, preprocessing))
                expected.append(answer.expected_dice[number])
                sizes.append((found[-1].argmax(0)[None] == _numbers(found[-1])).sum((1, 2)) + 1)
    if not unsure:
        return found, None, None
    weights = np.stack(sizes).astype(np.float64)
    mean = (np.stack(expected) * weights).sum(0) / weights.sum(0)
    return found, np.stack(unsure), mean


def _numbers(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.arange(1, len(probabilities))[:, None, None]


def _restored_map(
    entropy: NDArray[np.float32], height: int, width: int, preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Entropy at the pixels of its picture; none where the picture was cut off."""
    both = np.concatenate([np.zeros_like(entropy), entropy])
    found: NDArray[np.float32] = restored(both, height, width, preprocessing)[1]
    return found


def along_slices(found: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Each slice with a quarter of either neighbour, so that a volume hangs together."""
    if len(found) < 3 or len({one.shape for one in found}) > 1:
        return found
    above = [found[0], *found[:-1]]
    below = [*found[1:], found[-1]]
    return [
        np.asarray((a + 2 * one + b) / 4, dtype=np.float32)
        for a, one, b in zip(above, found, below, strict=True)
    ]


def _confidence(
    found: Sequence[NDArray[np.float32]], mask: NDArray[np.uint8], structure: int
) -> float:
    inside = [one[structure][m == structure] for one, m in zip(found, mask, strict=True)]
    values = np.concatenate(inside)
    return float(values.mean()) if len(values) else float("nan")
