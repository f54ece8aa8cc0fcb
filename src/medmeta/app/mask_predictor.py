"""One learned task of masks, ready to be asked: where a structure is, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.app.predictor import SUPPORT
from medmeta.data.mask_shape import UNLABELLED
from medmeta.data.preprocess import Preprocessing, as_float
from medmeta.episode import LabelledSet, Predictor
from medmeta.errors import SettingsError
from medmeta.evaluation.mask_metrics import overlap
from medmeta.learner import AdaptedTask
from medmeta.storage import save_folder
from medmeta.training.checkpoint import WEIGHTS, tensors_to_bytes

MEMBERS = 5  # answers that uncertainty is read from
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class MaskAnswer:
    """What is said of ``Q`` images: ``probabilities`` ``(Q, K + 1, *space)``, background first.

    ``uncertainty`` ``(Q, *space)`` is the entropy of the mean answer over its largest possible
    value; ``agreement`` ``(Q, K)`` the mean Dice of several answers with their mean. Both only
    where several were asked for. ``expected_dice`` ``(Q, K)`` is the agreement, brought down to
    what marked images showed when they were left out; NaN of structures where none could be.
    """

    probabilities: Probabilities
    uncertainty: NDArray[np.float32] | None = None
    agreement: NDArray[np.float64] | None = None
    expected_dice: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Point:
    """A place on an image, in prepared pixels, and which structure is there (0: none of them).

    ``slice`` is that of a volume, from 0.
    """

    row: int
    column: int
    structure: int
    slice: int = 0


@dataclass(frozen=True)
class SavedMaskPredictor:
    """One learned task: the learner, adapted to ``pixels`` ``(S, C, *space)`` and ``masks``.

    ``masks`` uint8 ``(S, *space)``: 1 and on are ``structures``, 255 is not labelled.
    """

    task: AdaptedTask
    card: Mapping[str, Any]
    pixels: NDArray[np.uint8]
    masks: NDArray[np.uint8]

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of what is marked 1, 2, ..."""
        return tuple(self.card["structures"])

    @property
    def preprocessing(self) -> Preprocessing:
        """How images must be prepared."""
        return Preprocessing.model_validate(self.card["preprocessing"])

    def answer(self, pixels: NDArray[np.uint8], *, uncertainty: bool = False) -> MaskAnswer:
        """Mark prepared images uint8 ``(Q, C, *space)``; ``uncertainty``: by several answers."""
        if not uncertainty:
            return MaskAnswer(self._probabilities(self.task.predictor, pixels))
        members = self._members(pixels)
        mean: Probabilities = np.mean(np.stack(members), axis=0)
        entropy = -(mean * np.log(np.maximum(mean, 1e-9))).sum(1) / np.log(mean.shape[1])
        agreed = _agreement(members)
        return MaskAnswer(mean, entropy.astype(np.float32), agreed, self._expected(agreed))

    def _expected(self, agreement: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the Dice may be where answers agree so far, by the images that were left out."""
        found = {row["structure"]: row for row in self.card.get("held_out") or ()}
        shares = np.array(
            [
                found[name]["dice"] / max(0.05, found[name]["agreement"])
                if name in found
                else np.nan
                for name in self.structures
            ]
        )
        return np.asarray(np.clip(agreement * shares, 0, 1))

    def of_rows(self, rows: NDArray[np.int64]) -> SavedMaskPredictor:
        """The task learned again from some of its images."""
        pixels, masks = self.pixels[rows], self.masks[rows]
        support = self._support(pixels, masks)
        task = replace(self.task, support=support, predictor=self._adapted(support))
        return replace(self, task=task, pixels=pixels, masks=masks)

    def _members(self, pixels: NDArray[np.uint8]) -> list[Probabilities]:
        """Answers as it is, to mirror images, and from parts of the support, each by itself."""
        found = [self._probabilities(self.task.predictor, pixels)]
        mirrored = self._probabilities(self.task.predictor, pixels[..., ::-1])
        found.append(np.ascontiguousarray(mirrored[..., ::-1]))
        for predictor in self._resampled:
            found.append(self._probabilities(predictor, pixels))
        return found

    @cached_property
    def _resampled(self) -> list[Predictor]:
        """The task learned again from the support without some of its images, which differ."""
        n = len(self.pixels)
        if n < 2:
            return []
        random = np.random.Generator(np.random.Philox(key=[int(self.card["seed"]), 11]))
        kept = max(1, round(0.7 * n))
        found = []
        for _ in range(MEMBERS - 2):
            rows = np.sort(random.choice(n, kept, replace=False))
            if (self.masks[rows] != 0).any():
                found.append(self._learned(self.pixels[rows], self.masks[rows]))
        return found

    def refined(self, image: NDArray[np.uint8], points: Sequence[Point], *, radius: int = 3) -> (
        SavedMaskPredictor
    ):  # fmt: skip
        """The task with what a person says of one image ``(C, *space)``, for asking about it again.

        The image joins the support; around each point it is labelled as far as ``radius`` pixels,
        elsewhere not. Raises ``SettingsError`` for a point beside the image or a structure that
        there is not.
        """
        space = image.shape[1:]
        mask = np.full(space, UNLABELLED, dtype=np.uint8)
        lines: list[NDArray[np.int64]] = list(np.indices(space, sparse=True))
        for point in points:
            at = (point.slice, point.row, point.column)[-len(space) :]
            inside = all(0 <= one < side for one, side in zip(at, space, strict=True))
            if not inside or not 0 <= point.structure <= len(self.structures):
                raise SettingsError(
                    f"the point ({', '.join(map(str, at))}) of structure {point.structure}: rows "
                    f"are 0 to {space[-2] - 1}, columns 0 to {space[-1] - 1}, structures 0 to "
                    f"{len(self.structures)}"
                    + (f", slices 0 to {space[0] - 1}." if len(space) == 3 else ".")
                )
            apart = np.zeros(space, dtype=np.int64)
            for line, one in zip(lines, at, strict=True):
                apart += (line - one) ** 2
            mask[apart <= radius**2] = point.structure
        if not points:
            return self
        pixels = np.concatenate([self.pixels, image[None]])
        masks = np.concatenate([self.masks, mask[None]])
        support = self._support(pixels, masks)
        predictor = self._adapted(support)
        task = replace(self.task, support=support, predictor=predictor)
        return replace(self, task=task, pixels=pixels, masks=masks)

    def _learned(self, pixels: NDArray[np.uint8], masks: NDArray[np.uint8]) -> Predictor:
        return self._adapted(self._support(pixels, masks))

    def _adapted(self, support: LabelledSet) -> Predictor:
        with torch.no_grad():
            return self.task.learner.adapt(support, self.task.target)

    def _support(self, pixels: NDArray[np.uint8], masks: NDArray[np.uint8]) -> LabelledSet:
        return labelled(pixels, masks, int(self.card["seed"]))

    def _probabilities(self, predictor: Predictor, pixels: NDArray[np.uint8]) -> Probabilities:
        images = as_float(torch.from_numpy(np.ascontiguousarray(pixels)))[None]
        with torch.no_grad():
            logits = predictor(images)[0]
        found: Probabilities = logits.float().softmax(1).numpy()
        return found

    def save(self, folder: Path) -> str:
        """Save as a folder; returns the SHA-256 of its card, for ``--expect-sha256``."""
        support = {"pixels": torch.from_numpy(self.pixels), "masks": torch.from_numpy(self.masks)}
        weights = tensors_to_bytes(self.task.learner.state_dict())
        parts = {WEIGHTS: weights, SUPPORT: tensors_to_bytes(support)}
        return save_folder(folder, self.card, parts)


def labelled(pixels: NDArray[np.uint8], masks: NDArray[np.uint8], seed: int) -> LabelledSet:
    """Prepared images and masks as the support of one task."""
    images = as_float(torch.from_numpy(np.ascontiguousarray(pixels)))[None]
    labels: Tensor = torch.from_numpy(masks.astype(np.int64))[None]
    labels = torch.where(labels == UNLABELLED, -1, labels)
    return LabelledSet(images, labels, torch.tensor([seed]))


def _agreement(members: Sequence[Probabilities]) -> NDArray[np.float64]:
    """Mean Dice ``(Q, K)`` of each answer with the mean of all."""
    size = members[0].shape[1]
    mean = np.mean(members, axis=0).argmax(1)
    axes = mean.ndim - 1
    dice = [overlap(one.argmax(1), mean, size, axes=axes)["dice"] for one in members]
    return np.asarray(np.mean(dice, axis=0))
