"""Hand-made: local binary patterns, how often each little pattern of dark and bright occurs.

Written out for batches rather than taken from scikit-image, to whose patterns these are equal: that
goes image by image, which takes twice as long, and brings SciPy's linear algebra into every start.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medmeta.encoders._hand_made import (
    HandMadeEncoder,
    brightness,
    middle_disc,
    n_brightness,
    to_length_one,
)
from medmeta.encoders._interface import EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.settings import Settings

TOGETHER = 64  # images
MOST_CHANGES = 2  # from dark to bright along the circle's points: of a uniform pattern
LEVELS = 255  # patterns are of whole grey levels, so that flat parts of 8-bit images are flat
Radius = Annotated[int, Field(ge=1, le=64)]


class LocalPatternsOptions(Settings):
    """Options of local binary patterns: ``radii`` of the circles looked at, in pixels.

    The first has 8 neighbours, every further one 4 more.
    """

    radii: tuple[Radius, ...] = Field((1, 2, 4), min_length=1, max_length=8)


class LocalPatterns(HandMadeEncoder):
    """Histograms of uniform, rotation-invariant patterns at several radii.

    Ojala, Pietikäinen and Mäenpää 2002 (riu2); of the middle disc of an image and of the rest, as
    square roots of shares.
    """

    def __init__(self, options: LocalPatternsOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__("local_patterns", input_spec)
        self.circles = [(radius, 8 + 4 * place) for place, radius in enumerate(options.radii)]
        self.middle = middle_disc(input_spec.size).flatten()
        patterns = sum(count + 2 for _, count in self.circles)
        self.embedding_size = 2 * patterns * n_brightness(input_spec.channels)

    def features(self, shares: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, embedding_size)``."""
        greys = (brightness(shares) * LEVELS).round().double().cpu()
        parts = [self._of(some.flatten(0, 1)) for some in torch.split(greys, TOGETHER)]
        return torch.cat(parts).reshape(len(shares), -1).to(shares)

    def _of(self, greys: Tensor) -> Tensor:
        """Histograms of images ``(N, H, W)``, all circles' one after the other."""
        found = []
        for radius, count in self.circles:
            codes = uniform_patterns(greys, radius=radius, count=count).flatten(1)
            for part in (codes[:, self.middle], codes[:, ~self.middle]):
                counts = part.new_zeros(len(part), count + 2)
                counts.scatter_add_(1, part, torch.ones_like(part))
                found.append((counts.double() / part.shape[1]).sqrt())
        joined = torch.cat(found, dim=1) / math.sqrt(len(found))
        return to_length_one(joined, joined.shape[1])


def uniform_patterns(greys: Tensor, *, radius: int, count: int) -> Tensor:
    """How many of ``count`` neighbours on a circle are as bright as each pixel, or brighter.

    ``(N, H, W)`` of doubles to whole numbers 0 to ``count``; ``count + 1`` where these do not lie
    side by side. A circle's points are between pixels, bilinearly; outside the image it is dark.

    >>> uniform_patterns(torch.ones(1, 1, 1).double(), radius=1, count=8)
    tensor([[[0]]])
    """
    height, width = greys.shape[-2:]
    margin = radius + 1
    padded = F.pad(greys, (margin,) * 4)
    rows, columns = (torch.arange(side).to(greys) for side in (height, width))
    signs = []
    for point in range(count):
        angle = 2 * math.pi * point / count
        down, right = round(-radius * math.sin(angle), 5), round(radius * math.cos(angle), 5)
        # Rounding differs from pixel to pixel, and decides where a flat part is all one grey.
        below, beside = (down + rows) % 1, (right + columns) % 1
        across = _between(padded, right, beside, margin, width, 2)
        signs.append(_between(across, down, below[:, None], margin, height, 1) >= greys)
    bright = torch.stack(signs)
    changes = (bright[1:] != bright[:-1]).sum(0)
    return torch.where(changes <= MOST_CHANGES, bright.sum(0), count + 1)


def _between(images: Tensor, at: float, share: Tensor, margin: int, n: int, axis: int) -> Tensor:
    """``n`` lines of padded images, moved by ``at`` along an axis."""
    low, high = math.floor(at), math.ceil(at)
    near = images.narrow(axis, margin + low, n)
    if low == high:
        return near
    return (1 - share) * near + share * images.narrow(axis, margin + high, n)


SPEC = EncoderSpec(
    "local_patterns",
    "hand-made: local binary patterns (Ojala 2002)",
    LocalPatternsOptions,
    LocalPatterns,
)
