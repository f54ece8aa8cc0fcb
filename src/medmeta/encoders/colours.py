"""Hand-made: histograms of brightness and of opponent colours, of the middle and of the rest."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from medmeta.encoders._hand_made import (
    HandMadeEncoder,
    brightness,
    middle_disc,
    share_histograms,
    to_length_one,
)
from medmeta.encoders._interface import EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.settings import Settings

CHROMATIC = (0.2, 0.8)  # tissue's colours lie near grey; what is beyond counts in the end bins


class ColoursOptions(Settings):
    """Options of the histograms: ``bins`` of each."""

    bins: int = Field(16, ge=2, le=256)


class Colours(HandMadeEncoder):
    """How much there is of each brightness, red–green, yellow–blue and saturation.

    Square roots of the shares of pixels, so that distances are Hellinger's; opponent colours as
    of van de Sande, Gevers and Snoek 2010, section 2. Of images without three channels: of every
    channel's values.
    """

    middle: Tensor

    def __init__(self, options: ColoursOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__("colours", input_spec)
        self.bins = options.bins
        self.register_buffer("middle", middle_disc(input_spec.size), persistent=False)
        channels = 4 if input_spec.channels == 3 else input_spec.channels
        self.embedding_size = 2 * channels * options.bins

    def features(self, shares: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, embedding_size)``."""
        seen = _opponent(shares) if shares.shape[1] == 3 else shares
        parts = [
            share_histograms(seen[:, :, mask], self.bins) for mask in (self.middle, ~self.middle)
        ]
        joined = torch.cat(parts, dim=1) / (2 * seen.shape[1]) ** 0.5
        return to_length_one(joined, self.embedding_size)


def _opponent(shares: Tensor) -> Tensor:
    """Brightness, red–green, yellow–blue and saturation, each in 0 to 1: ``(N, 4, H, W)``."""
    red, green, blue = shares.unbind(1)
    low, high = CHROMATIC
    chromatic = torch.stack([red - green, (red + green) / 2 - blue], dim=1)
    chromatic = (((chromatic + 1) / 2 - low) / (high - low)).clamp(0, 1)
    most, least = shares.amax(1), shares.amin(1)
    saturation = (most - least) / most.clamp(min=1e-3)
    return torch.cat([brightness(shares), chromatic, saturation[:, None]], dim=1)


SPEC = EncoderSpec(
    "colours",
    "hand-made: brightness and opponent colours (van de Sande 2010)",
    ColoursOptions,
    Colours,
)
