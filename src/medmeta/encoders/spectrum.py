"""Hand-made: how strong an image's coarse and fine grain is in every direction."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medmeta.encoders._hand_made import HandMadeEncoder, brightness, n_brightness
from medmeta.encoders._interface import EncoderSpec, Norm
from medmeta.episode import InputSpec
from medmeta.settings import Settings

FAINTEST = 1e-3


class SpectrumOptions(Settings):
    """Options of the spectrum: ``rings`` of frequencies by octaves, ``directions`` in each."""

    rings: int = Field(7, ge=2, le=32)
    directions: int = Field(6, ge=1, le=36)


class Spectrum(HandMadeEncoder):
    """The logarithm of the Fourier amplitude, in the mean over rings and directions.

    After a Hann window, of each image less its mean; of several channels that are no colours, of
    each. Rings and wedges of the spectrum as texture: Weszka, Dyer and Rosenfeld 1976.
    """

    places: Tensor
    counts: Tensor
    window: Tensor

    def __init__(self, options: SpectrumOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__("spectrum", input_spec)
        place = _places(input_spec.size, options.rings, options.directions)
        _, places, counts = np.unique(place.numpy(), return_inverse=True, return_counts=True)
        self.register_buffer("places", torch.from_numpy(places.ravel()), persistent=False)
        self.register_buffer("counts", torch.from_numpy(counts).float(), persistent=False)
        height, width = input_spec.size
        window = torch.hann_window(height)[:, None] * torch.hann_window(width)[None]
        self.register_buffer("window", window, persistent=False)
        self.embedding_size = len(counts) * n_brightness(input_spec.channels)

    def features(self, shares: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, embedding_size)``."""
        grey = brightness(shares)
        grey = (grey - grey.mean((2, 3), keepdim=True)) * self.window
        strength = (torch.fft.fft2(grey).abs() + FAINTEST).log().flatten(2)
        sums = strength.new_zeros(*strength.shape[:2], len(self.counts))
        sums.index_add_(2, self.places, strength)
        means: Tensor = sums / self.counts
        return means.flatten(1)


def _places(size: tuple[int, ...], rings: int, directions: int) -> Tensor:
    """To which ring and direction each frequency belongs, ``(H, W)``."""
    height, width = size
    y = (torch.fft.fftfreq(height) * height)[:, None]
    x = (torch.fft.fftfreq(width) * width)[None]
    far = torch.hypot(y, x).clamp(min=1)
    finest = math.log2(min(size) / 2)
    ring = (far.log2() / finest * rings).long().clamp(max=rings - 1)
    turn = torch.atan2(y.expand(size), x.expand(size)).remainder(math.pi) / math.pi
    return ring * directions + (turn * directions).long().clamp(max=directions - 1)


SPEC = EncoderSpec(
    "spectrum",
    "hand-made: strength of coarse and fine grain by direction",
    SpectrumOptions,
    Spectrum,
)
