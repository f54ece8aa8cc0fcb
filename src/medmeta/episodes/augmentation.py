"""Small random changes to the images of a task: drawn as numbers first, applied afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Augment = Literal["none", "light"]

GAIN, COLOUR_GAIN, SHIFT = 0.25, 0.1, 0.3


@dataclass(frozen=True)
class Changes:
    """What happens to each of ``n`` images.

    ``mirrored`` ``(n,)``: left and right change places. ``gain`` ``(n, C)`` multiplies the
    normalised intensities, whose range is -2 to 2, and ``shift`` ``(n,)`` is added to them.
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
    """Changed images ``(n, C, H, W)``; intensities stay within -2 to 2.

    >>> still = Changes(np.array([True]), np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    >>> apply_changes(torch.tensor([[[[0.0, 1.0]]]]), still).flatten().tolist()
    [1.0, 0.0]
    """
    gain = torch.from_numpy(changes.gain).to(images.device)[:, :, None, None]
    shift = torch.from_numpy(changes.shift).to(images.device)[:, None, None, None]
    mirrored = torch.from_numpy(changes.mirrored).to(images.device)[:, None, None, None]
    turned = torch.where(mirrored, images.flip(-1), images)
    return (turned * gain + shift).clamp(-2.0, 2.0)


def is_colour(images: Tensor) -> bool:
    """Whether any of the images ``(n, C, H, W)`` has channels that differ."""
    return images.shape[1] > 1 and not torch.equal(images, images[:, :1].expand_as(images))
