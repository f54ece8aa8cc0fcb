"""Volumes marked by a network over three axes: all at once, or block by block and blended.

A volume lies in memory at 8 bits while it is marked; of the answer no more than a block's depth of
planes does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medmeta.app.mask_predictor import MaskAnswer, SavedMaskPredictor
from medmeta.app.tiles import falling, starts
from medmeta.data.mask_patches import padded
from medmeta.data.preprocess import Preprocessing
from medmeta.data.resampled import voxel_size
from medmeta.data.scan import Scan
from medmeta.data.volume_grid import grid_of, image_on_grid, restored_slices
from medmeta.data.whole_volumes import ALIKE
from medmeta.errors import UnreadableImageError

_TOGETHER = 4
Pixels = NDArray[np.uint8]
Planes = NDArray[np.float32]


@dataclass(frozen=True)
class MarkedVolume:
    """What is marked ``(n, H, W)``, and of each structure and voxel how sure that is.

    ``confidence`` and ``expected_dice`` ``(K,)``, ``uncertainty`` ``(n, H, W)``; the last two only
    where they were asked for.
    """

    mask: Pixels
    confidence: NDArray[np.float64]
    expected_dice: NDArray[np.float64] | None
    uncertainty: NDArray[np.float32] | None


def mark_volume(
    predictor: SavedMaskPredictor, scan: Scan, slices: Sequence[Pixels], *, uncertainty: bool
) -> MarkedVolume:
    """Mark a volume whose slices ``(H, W)`` were read, at its own voxels.

    Raises ``UnreadableImageError`` where the size of its voxels must be known and is not, or is not
    that which was learned at.
    """
    _check_voxels(predictor, scan)
    preprocessing, n_structures = predictor.preprocessing, len(predictor.structures)
    height, width = slices[0].shape
    grid = grid_of(scan, (len(slices), height, width), preprocessing)
    asking = _Asking(predictor, uncertainty=uncertainty)
    volume = image_on_grid(slices, grid, preprocessing)
    planes = asking.planes(volume)
    mask = np.empty(grid.shown, dtype=np.uint8)
    unsure = np.empty(grid.shown, dtype=np.float32) if uncertainty else None
    sums, counts = np.zeros(n_structures + 1), np.zeros(n_structures + 1)
    for place, found in enumerate(restored_slices(planes, grid)):
        probabilities = found[: n_structures + 1]
        mask[place] = probabilities.argmax(0)
        best = probabilities.max(0).reshape(-1)
        sums += np.bincount(mask[place].reshape(-1), best, n_structures + 1)
        counts += np.bincount(mask[place].reshape(-1), minlength=n_structures + 1)
        if unsure is not None:
            unsure[place] = found[-1]
    confidence = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)[1:]
    return MarkedVolume(mask, confidence, asking.expected_dice(), unsure)


def _check_voxels(predictor: SavedMaskPredictor, scan: Scan) -> None:
    learned = predictor.card["support"].get("voxels_mm")
    known = voxel_size(scan, predictor.preprocessing.plane)
    if learned is None or known is None:
        return
    if any(max(a, b) > ALIKE * min(a, b) for a, b in zip(known, learned, strict=True)):
        ours, theirs = (" x ".join(f"{step:.3g}" for step in one) for one in (known, learned))
        raise UnreadableImageError(
            f"{scan.where}: has voxels of {ours} mm, and the structure was learned in voxels of "
            f"{theirs} mm; adapt again with --spacing and mm, or with --spacing any."
        )


class _Asking:
    """The predictor asked about the blocks of one volume, and what it expects of them."""

    def __init__(self, predictor: SavedMaskPredictor, *, uncertainty: bool) -> None:
        self.predictor = predictor
        self.uncertainty = uncertainty
        self.weighed = np.zeros(len(predictor.structures))
        self.weights = np.zeros(len(predictor.structures))

    def expected_dice(self) -> NDArray[np.float64] | None:
        """Means over blocks, each by how much is marked in it; None where it was not asked for."""
        return self.weighed / np.maximum(self.weights, 1e-9) if self.uncertainty else None

    def planes(self, volume: Pixels) -> Iterator[Planes]:
        """Probabilities ``(K + 1, H, W)`` of each plane of a volume ``(D, H, W)``, in order.

        With ``uncertainty`` the entropy is behind them.
        """
        preprocessing = self.predictor.preprocessing
        if preprocessing.patches:
            yield from self._blended(volume, preprocessing)
        else:
            yield from self._answers(volume[None])[0].transpose(1, 0, 2, 3)

    def _blended(self, volume: Pixels, preprocessing: Preprocessing) -> Iterator[Planes]:
        """Blocks overlap by a quarter; where they do, each weighs by how far its own edge is."""
        sides = (preprocessing.depth, preprocessing.size, preprocessing.size)
        whole = padded(volume, sides)
        first, *across = (starts(n, side) for n, side in zip(whole.shape, sides, strict=True))
        places = [(row, column) for row in across[0] for column in across[1]]
        fall = falling(*sides)
        channels = len(self.predictor.structures) + 1 + self.uncertainty
        total = np.zeros((channels, sides[0], *whole.shape[1:]), dtype=np.float32)
        weight = np.zeros(total.shape[1:], dtype=np.float32)
        for begin, end in zip(first, [*first[1:], whole.shape[0]], strict=True):
            slab = whole[begin : begin + sides[0]]
            self._add(slab, places, fall, total, weight)
            for plane in range(min(end, len(volume)) - begin):
                found = total[:, plane] / weight[plane]
                yield found[:, : volume.shape[1], : volume.shape[2]]
            done = end - begin
            total[:, : -done or None] = total[:, done:]
            weight[: -done or None] = weight[done:]
            total[:, sides[0] - done :], weight[sides[0] - done :] = 0, 0

    def _add(
        self,
        slab: Pixels,
        places: Sequence[tuple[int, int]],
        fall: NDArray[np.float32],
        total: Planes,
        weight: NDArray[np.float32],
    ) -> None:
        """Answers to all blocks of a slab, added where they lie."""
        _, height, width = fall.shape
        for at in range(0, len(places), _TOGETHER):
            part = places[at : at + _TOGETHER]
            cut = [slab[:, r : r + height, c : c + width] for r, c in part]
            for (row, column), answer in zip(part, self._answers(np.stack(cut)), strict=True):
                rows, columns = slice(row, row + height), slice(column, column + width)
                total[:, :, rows, columns] += answer * fall
                weight[:, rows, columns] += fall

    def _answers(self, blocks: Pixels) -> Planes:
        """Blocks ``(n, D, H, W)`` to probabilities ``(n, K + 1, D, H, W)``, entropy behind them."""
        prepared = np.repeat(blocks[:, None], self.predictor.preprocessing.channels, axis=1)
        answer = self.predictor.answer(prepared, uncertainty=self.uncertainty)
        if answer.uncertainty is None:
            return answer.probabilities
        self._weigh(answer)
        return np.concatenate([answer.probabilities, answer.uncertainty[:, None]], axis=1)

    def _weigh(self, answer: MaskAnswer) -> None:
        given = answer.probabilities.argmax(1).reshape(len(answer.probabilities), -1)
        assert answer.expected_dice is not None
        for k in range(len(self.weights)):
            marked = (given == k + 1).sum(1) + 1.0
            self.weighed[k] += float((answer.expected_dice[:, k] * marked).sum())
            self.weights[k] += float(marked.sum())
