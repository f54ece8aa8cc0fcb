"""Hand-made features: histograms of oriented gradients, and of colours or greys."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medmeta.encoders._hand_made import HandMadeEncoder, share_histograms, skimage_feature
from medmeta.encoders._interface import EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.settings import Settings

BLOCK = 2  # cells a block is wide, as in the paper


class HogColourOptions(Settings):
    """Options of the hand-made features.

    ``cells``: about how many cells the image is wide; a cell is a whole number of pixels.
    ``orientations``: of gradients in each cell. ``bins``: of each channel's histogram.
    """

    cells: int = Field(4, ge=2, le=64)
    orientations: int = Field(9, ge=2, le=36)
    bins: int = Field(16, ge=2, le=256)


class HogColour(HandMadeEncoder):
    """Shape by oriented gradients, look by the histogram of each channel; nothing is learned.

    Dalal and Triggs 2005: gradients' orientations are counted in cells, cells normalised in
    blocks of 2×2 (L2-Hys); of colour, each pixel's strongest channel counts. Histograms are the
    square roots of the shares of pixels, so that their distance is Hellinger's. Both have about
    the same length, whatever the numbers of cells and bins. Raises ``MissingExtraError``.
    """

    def __init__(self, options: HogColourOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__("hog_colour", input_spec)
        skimage_feature("hog", "hog_colour")
        self.orientations, self.bins = options.orientations, options.bins
        self.cell = max(1, min(round(side / options.cells) for side in input_spec.size))
        blocks = math.prod(side // self.cell - BLOCK + 1 for side in input_spec.size)
        gradients = blocks * BLOCK**2 * options.orientations
        self.embedding_size = gradients + input_spec.channels * options.bins
        # A block has length 1, a channel's histogram too; half of the length is of either.
        half = math.sqrt(self.embedding_size / 2)
        self.scales = (half / math.sqrt(blocks), half / math.sqrt(input_spec.channels))

    def features(self, shares: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, embedding_size)``."""
        parts = (self._gradients(shares), share_histograms(shares.flatten(2), self.bins))
        scaled = [part * scale for part, scale in zip(parts, self.scales, strict=True)]
        return torch.cat(scaled, dim=1)

    def _gradients(self, images: Tensor) -> Tensor:
        hog = skimage_feature("hog", "hog_colour")
        found = [
            hog(
                image,
                orientations=self.orientations,
                pixels_per_cell=(self.cell, self.cell),
                cells_per_block=(BLOCK, BLOCK),
                channel_axis=-1,
            )
            for image in np.ascontiguousarray(images.permute(0, 2, 3, 1).cpu().numpy())
        ]
        return torch.from_numpy(np.stack(found)).to(images)


SPEC = EncoderSpec(
    "hog_colour",
    "hand-made: oriented gradients and colours (Dalal 2005)",
    HogColourOptions,
    HogColour,
)
