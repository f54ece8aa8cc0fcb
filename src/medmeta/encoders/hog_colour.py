"""Hand-made features: histograms of oriented gradients, and of colours or greys."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medmeta.encoders._interface import AbstractEncoder, EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.errors import MissingExtraError, SettingsError
from medmeta.settings import Settings

LEAST_SIDE = 16
BLOCK = 2  # cells a block is wide, as in the paper
DARKEST, BRIGHTEST = -2.0, 2.0  # of the floats that encoders are given


class HogColourOptions(Settings):
    """Options of the hand-made features.

    ``cells``: about how many cells the image is wide; a cell is a whole number of pixels.
    ``orientations``: of gradients in each cell. ``bins``: of each channel's histogram.
    """

    cells: int = Field(4, ge=2, le=64)
    orientations: int = Field(9, ge=2, le=36)
    bins: int = Field(16, ge=2, le=256)


class HogColour(AbstractEncoder):
    """Shape by oriented gradients, look by the histogram of each channel; nothing is learned.

    Dalal and Triggs 2005: gradients' orientations are counted in cells, cells normalised in
    blocks of 2×2 (L2-Hys); of colour, each pixel's strongest channel counts. Histograms are the
    square roots of the shares of pixels, so that their distance is Hellinger's. Both have about
    the same length, whatever the numbers of cells and bins. Raises ``MissingExtraError``.
    """

    def __init__(self, options: HogColourOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        _hog()
        if min(input_spec.size) < LEAST_SIDE:
            raise SettingsError(
                f"hog_colour needs images of at least {LEAST_SIDE}×{LEAST_SIDE}, not "
                f"{input_spec.size}."
            )
        self.orientations, self.bins = options.orientations, options.bins
        self.cell = max(1, min(round(side / options.cells) for side in input_spec.size))
        blocks = math.prod(side // self.cell - BLOCK + 1 for side in input_spec.size)
        gradients = blocks * BLOCK**2 * options.orientations
        self.embedding_size = gradients + input_spec.channels * options.bins
        # A block has length 1, a channel's histogram too; half of the length is of either.
        half = math.sqrt(self.embedding_size / 2)
        self.scales = (half / math.sqrt(blocks), half / math.sqrt(input_spec.channels))

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """The features ``(N, embedding_size, 1)``, the only stage."""
        features: Tensor = _OutsideTorch.apply(inputs, self._features)  # type: ignore[no-untyped-call]
        return [features[:, :, None]]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Drop the one position."""
        return feature_map.flatten(1)

    def _features(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, embedding_size)``."""
        shares = ((images.float() - DARKEST) / (BRIGHTEST - DARKEST)).clamp(0, 1)
        parts = (self._gradients(shares), self._histograms(shares))
        scaled = [part * scale for part, scale in zip(parts, self.scales, strict=True)]
        return torch.cat(scaled, dim=1).to(images.dtype)

    def _gradients(self, images: Tensor) -> Tensor:
        hog = _hog()
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

    def _histograms(self, images: Tensor) -> Tensor:
        pixels = images.flatten(2)
        places = (pixels * self.bins).long().clamp(max=self.bins - 1)
        counts = pixels.new_zeros(*pixels.shape[:2], self.bins)
        counts.scatter_add_(2, places, torch.ones_like(pixels))
        return (counts / pixels.shape[2]).sqrt().flatten(1)


class _OutsideTorch(torch.autograd.Function):
    """A function of each image that torch cannot look into: without gradient, also in ``vmap``."""

    @staticmethod
    def forward(images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(images.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None], images: Tensor, function: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, int]:
        tasks = images.movedim(in_dims[0], 0)
        found = _OutsideTorch.apply(tasks.flatten(0, 1), function)  # type: ignore[no-untyped-call]
        return found.unflatten(0, tasks.shape[:2]), 0


def _hog() -> Callable[..., Any]:
    """scikit-image's descriptor; it comes with an extra, and is imported here alone."""
    try:
        from skimage.feature import hog
    except ImportError:
        raise MissingExtraError("scikit-image", "features", "the encoder hog_colour") from None
    return hog  # type: ignore[no-any-return]


SPEC = EncoderSpec(
    "hog_colour",
    "hand-made: oriented gradients and colours (Dalal 2005)",
    HogColourOptions,
    HogColour,
)
