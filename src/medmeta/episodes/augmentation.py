"""Small random changes to the images of tasks: drawn as numbers first, applied afterwards.

These are the ``light`` ones, alike for all pictures; ``alterations`` has those by modality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.data.preprocess import as_float
from medmeta.episodes.per_task import PerTask

Augment = Literal["none", "light", "modality", "tasks"]

GAIN, COLOUR_GAIN, SHIFT = 0.25, 0.1, 0.3


@dataclass(frozen=True)
class Changes(PerTask):
    """What happens to each of ``n`` images of a task, or of ``(T, n)`` images of several.

    ``mirrored`` ``(..., n)``: left and right change places. ``gain`` ``(..., n, C)`` multiplies the
    normalised intensities, whose range is -2 to 2, and ``shift`` ``(..., n)`` is added to them.
    """

    mirrored: NDArray[np.bool_]
    gain: NDArray[np.float32]
    shift: NDArray[np.float32]


def draw_changes(
    random: np.random.Generator, n_images: int, n_channels: int, *, colour: bool
) -> Changes:
    """Draw the light changes of a task's images.

    The same mirroring for the whole task, since it can turn one class into another (a heart on the
    other side); gain and shift for each image. ``colour``: its channels also vary against each
    other, as stains do; a grey picture's never.
    """
    gain = 1 + GAIN * random.uniform(-1, 1, (n_images, 1))
    if colour:
        gain = gain * (1 + COLOUR_GAIN * random.uniform(-1, 1, (n_images, n_channels)))
    return Changes(
        mirrored=np.full(n_images, random.random() < 0.5),
        gain=np.broadcast_to(gain, (n_images, n_channels)).astype(np.float32),
        shift=(SHIFT * random.uniform(-1, 1, n_images)).astype(np.float32),
    )


def apply_changes(images: Tensor, changes: Changes) -> Tensor:
    """Changed images ``(..., n, C, *space)``, normalised float32 that stay within -2 to 2.

    Left and right are the two ends of the last axis of space. ``images`` are stored pixels (uint8)
    or normalised already.

    >>> still = Changes(np.array([True]), np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    >>> apply_changes(torch.tensor([[[[0.0, 1.0]]]]), still).flatten().tolist()
    [1.0, 0.0]
    """
    gain, shift, mirrored = (
        _over(torch.from_numpy(values).to(images.device), images)
        for values in (changes.gain, changes.shift, changes.mirrored)
    )
    turned = torch.where(mirrored, images.flip(-1), images)  # of integers: a quarter of the bytes
    normalised = as_float(turned) if turned.dtype == torch.uint8 else turned
    return normalised.mul_(gain).add_(shift).clamp_(-2.0, 2.0)


def mirrored_masks(masks: Tensor, changes: Changes) -> Tensor:
    """Masks ``(..., n, *space)`` of images that ``changes`` are made to."""
    mirrored = _over(torch.from_numpy(changes.mirrored).to(masks.device), masks)
    return torch.where(mirrored, masks.flip(-1), masks)


def is_colour(images: Tensor) -> NDArray[np.bool_]:
    """``(T,)``: whether any image of each task ``(T, n, C, *space)`` has channels that differ."""
    pixels = images.cpu().numpy()
    others = tuple(range(1, pixels.ndim))
    differ: NDArray[np.bool_] = (pixels[:, :, 1:] != pixels[:, :, :1]).any(axis=others)
    return differ


def _over(values: Tensor, images: Tensor) -> Tensor:
    """Numbers of images or of channels with as many axes as the images."""
    return values.reshape(*values.shape, *[1] * (images.ndim - values.ndim))
