"""Hand-made: local binary patterns, how often each little pattern of dark and bright occurs."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medmeta.encoders._hand_made import (
    HandMadeEncoder,
    brightness,
    middle_disc,
    n_brightness,
    skimage_feature,
    to_length_one,
)
from medmeta.encoders._interface import EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.settings import Settings

LEVELS = 255  # patterns are of whole grey levels, so that flat parts of 8-bit images are flat
Radius = Annotated[int, Field(ge=1, le=64)]


class LocalPatternsOptions(Settings):
    """Options of local binary patterns: ``radii`` of the circles looked at, in pixels.

    The first has 8 neighbours, every further one 4 more.
    """

    radii: tuple[Radius, ...] = Field((1, 2, 4), min_length=1, max_length=8)


class LocalPatterns(HandMadeEncoder):
    """Histograms of uniform, rotation-invariant patterns at several radii.

    Ojala, Pietikäinen and Mäenpää 2002 (riu2), by scikit-image; of the middle disc of an
    image and of the rest, as square roots of shares. Raises ``MissingExtraError``.
    """

    def __init__(self, options: LocalPatternsOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__("local_patterns", input_spec)
        skimage_feature("local_binary_pattern", "local_patterns")
        self.circles = [(radius, 8 + 4 * place) for place, radius in enumerate(options.radii)]
        self.middle = middle_disc(input_spec.size).numpy()
        patterns = sum(count + 2 for _, count in self.circles)
        self.embedding_size = 2 * patterns * n_brightness(input_spec.channels)

    def features(self, shares: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, embedding_size)``."""
        greys = (brightness(shares) * LEVELS).round().cpu().numpy()
        found = [np.concatenate([self._of(grey) for grey in image]) for image in greys]
        return torch.from_numpy(np.stack(found)).to(shares)

    def _of(self, grey: np.ndarray) -> np.ndarray:
        pattern = skimage_feature("local_binary_pattern", "local_patterns")
        whole = grey.astype(np.uint8)
        parts = []
        for radius, count in self.circles:
            codes = pattern(whole, count, radius, "uniform").astype(np.int64)
            for part in (codes[self.middle], codes[~self.middle]):
                parts.append(np.sqrt(np.bincount(part, minlength=count + 2) / part.size))
        joined = torch.from_numpy(np.concatenate(parts))
        return to_length_one(joined / np.sqrt(len(parts)), len(joined)).numpy()


SPEC = EncoderSpec(
    "local_patterns",
    "hand-made: local binary patterns (Ojala 2002)",
    LocalPatternsOptions,
    LocalPatterns,
)
