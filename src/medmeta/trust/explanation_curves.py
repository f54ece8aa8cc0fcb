"""Whether a map is right: deletion and insertion of what it names first, beside random maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.errors import DataError, SettingsError
from medmeta.evaluation.metrics import softmax
from medmeta.learner import AdaptedTask
from medmeta.trust.explanation import (
    BATCH,
    Windows,
    answers_in_pieces,
    answers_of,
    neutral_images,
)

STEPS = 16
Probabilities = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Curves:
    """The probability of the explained class as pixels go and come, in a map's order.

    ``share`` ``(F,)`` of the pixels that were deleted from the image, or inserted into the neutral
    one; ``deletion`` and ``insertion`` ``(Q, F)``.
    """

    share: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> NDArray[np.float64]:
        """Area under each deletion curve ``(Q,)``: small where the map names what matters."""
        return np.asarray(np.trapezoid(self.deletion, self.share, axis=1))

    @property
    def insertion_area(self) -> NDArray[np.float64]:
        """Area under each insertion curve ``(Q,)``: large where the map names what matters."""
        return np.asarray(np.trapezoid(self.insertion, self.share, axis=1))


def deletion_and_insertion(
    task: AdaptedTask,
    images: Tensor,
    maps: NDArray[np.float32],
    *,
    classes: Tensor | None = None,
    steps: int = STEPS,
    batch: int = BATCH,
    probabilities: Probabilities = softmax,
) -> Curves:
    """Delete and insert pixels in the order that maps ``(Q, *space)`` give (Petsiuk et al. 2018).

    ``images`` ``(Q, C, *space)``; ``classes`` ``(Q,)``, by default each image's answer;
    ``probabilities`` of logits ``(n, K)``, as the answers are given. Deleted pixels become the
    support's mean colour. Raises ``DataError`` for maps that are not finite or do not fit.
    """
    if maps.shape != (len(images), *images.shape[2:]) or not np.isfinite(maps).all():
        raise DataError(
            f"maps of {maps.shape} do not fit images of {tuple(images.shape)}, or have gaps; "
            "leave out images without a valid answer."
        )
    if steps < 1:
        raise SettingsError(f"{steps} steps of deletion: it takes at least one.")
    classes = answers_of(task, images, batch=batch) if classes is None else classes
    share = np.linspace(0, 1, steps + 1)
    n_pixels = math.prod(images.shape[2:])
    order = np.argsort(-maps.reshape(len(maps), -1), axis=1, kind="stable")
    rank = torch.from_numpy(np.argsort(order, axis=1)).reshape(maps.shape).to(images.device)
    blank = neutral_images(task, images)
    each = max(1, batch // max(1, len(images)))
    inner = share[1:-1].tolist()
    groups = [inner[first : first + each] for first in range(0, len(inner), each)]
    pieces = [lambda: torch.cat([images, blank[:1]])]
    pieces += [
        partial(_spoiled, images, blank, rank, [round(part * n_pixels) for part in group], insert)
        for insert in (False, True)
        for group in groups
    ]
    first, *told = answers_in_pieces(task, pieces)
    told_of = partial(_probability, classes=classes, probabilities=probabilities)
    whole = told_of(first[: len(images)])
    empty = told_of(first[len(images) :].expand(len(images), -1))
    every = torch.cat([first[:0], *told]).reshape(2 * len(inner), len(images), first.shape[1])
    steps_told = [told_of(raw) for raw in every]
    deleted, inserted = steps_told[: len(inner)], steps_told[len(inner) :]
    return Curves(
        share,
        np.stack([whole, *deleted, empty], axis=1),
        np.stack([empty, *inserted, whole], axis=1),
    )


def _spoiled(
    images: Tensor, blank: Tensor, rank: Tensor, counts: Sequence[int], insert: bool
) -> Tensor:
    """Copies of all images for each number of pixels, that go or (``insert``) come by rank."""
    copies = [torch.where((rank < n)[:, None] != insert, blank, images) for n in counts]
    return torch.cat(copies)


def random_maps(
    n: int, space: tuple[int, ...], *, seed: int, windows: Windows | None = None
) -> NDArray[np.float32]:
    """Maps ``(n, *space)`` that know nothing, as coarse as those of occlusion.

    Of single random pixels, a few would spoil an image everywhere at once, which no map does that
    has areas; so a random map has blocks of a window's stride.
    """
    stride = (windows or Windows.of(space)).stride
    cells = tuple(math.ceil(side / step) for side, step in zip(space, stride, strict=True))
    maps = np.random.default_rng(seed).random((n, *cells), dtype=np.float32)
    for axis, step in enumerate(stride, start=1):
        maps = np.repeat(maps, step, axis=axis)
    return maps[(slice(None), *(slice(side) for side in space))]


def mass_within(maps: NDArray[np.float32], marked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of what speaks for the class that lies where ``marked`` ``(Q, *space)``, ``(Q,)``.

    0 for a map with nothing above zero.

    >>> maps = np.array([[3.0, 1.0, -5.0]], dtype=np.float32)
    >>> mass_within(maps, np.array([[True, False, False]])).tolist()
    [0.75]
    """
    above = np.maximum(maps, 0).reshape(len(maps), -1).astype(np.float64)
    inside = np.where(marked.reshape(len(maps), -1), above, 0).sum(1)
    whole = above.sum(1)
    return np.asarray(np.divide(inside, whole, out=np.zeros_like(whole), where=whole > 0))


def _probability(raw: Tensor, classes: Tensor, probabilities: Probabilities) -> NDArray[np.float64]:
    """Of each image's class ``(Q,)``, by logits or values ``(Q, K)``."""
    told = raw.double().cpu().numpy()
    if told.shape[1] > 1:
        told = probabilities(told)
    return np.asarray(np.take_along_axis(told, classes.cpu().numpy()[:, None], 1)[:, 0])
