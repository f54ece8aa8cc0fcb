"""Hand-made features of signals: how values and steps are spread, and which rhythms there are."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medmeta.encoders._hand_made import outside_torch
from medmeta.encoders._interface import EncoderSpec, Norm, VectorEncoder
from medmeta.episode import InputSpec
from medmeta.settings import Settings

FAINTEST = 1e-3
SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class WaveformOptions(Settings):
    """Options: ``bands`` of frequencies, equally wide as ratios."""

    bands: int = Field(16, ge=2, le=64)


class Waveform(VectorEncoder):
    """Of each lead: quantiles of its values and of its steps, and log amplitudes by band.

    And how strongly it repeats itself after each of as many delays as there are bands (the
    autocorrelation's largest value in each), which tells rhythm and regularity.
    """

    places: Tensor
    counts: Tensor

    def __init__(self, options: WaveformOptions, input_spec: InputSpec, norm: Norm) -> None:
        super().__init__()
        (samples,) = input_spec.size
        self.samples = samples
        finest = math.log2(max(2, samples // 2))
        steps = torch.arange(1, samples // 2 + 1).log2() / finest * options.bands
        bands = steps.long().clamp(max=options.bands - 1)
        _, found = np.unique(bands.numpy(), return_inverse=True)  # without those that hold none
        places = torch.from_numpy(found)
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("counts", places.bincount().float(), persistent=False)
        self.embedding_size = input_spec.channels * 2 * (len(SHARES) + len(self.counts))

    def embed(self, inputs: Tensor) -> Tensor:
        """``(N, C, L)`` to ``(N, embedding_size)``."""
        return outside_torch(inputs, self._features)

    def _features(self, signals: Tensor) -> Tensor:
        shares = signals.new_tensor(SHARES)
        values = signals.quantile(shares, dim=2).movedim(0, 2)
        steps = signals.diff(dim=2).quantile(shares, dim=2).movedim(0, 2)
        centred = signals - signals.mean(2, keepdim=True)
        spectrum = torch.fft.rfft(centred, n=2 * self.samples)
        power = spectrum.abs().square()
        coarse = power[..., 2 : 2 * (self.samples // 2) + 1 : 2].sqrt()
        strength = (coarse / math.sqrt(self.samples) + FAINTEST).log()
        bands = strength.new_zeros(*strength.shape[:2], len(self.counts))
        bands = bands.index_add(2, self.places, strength) / self.counts
        repeated = torch.fft.irfft(power)[..., : self.samples // 2 + 1]
        repeated = repeated[..., 1:] / repeated[..., :1].clamp(min=FAINTEST)
        places = self.places.expand_as(repeated)
        rhythm = torch.full_like(bands, -1.0).scatter_reduce(2, places, repeated, "amax")
        return torch.cat([values, steps, bands, rhythm], dim=2).flatten(1)


SPEC = EncoderSpec(
    "waveform",
    "hand-made: spread, steps, frequencies and rhythm of each lead of a signal",
    WaveformOptions,
    Waveform,
    takes=frozenset({"signal"}),
)
