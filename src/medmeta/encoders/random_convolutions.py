"""Features of signals without learning: how often and how strongly random waves are met."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medmeta.encoders._hand_made import outside_torch
from medmeta.encoders._interface import EncoderSpec, Norm, VectorEncoder
from medmeta.episode import InputSpec
from medmeta.settings import Settings

LENGTHS = (7, 9, 11)
LEAST_SAMPLES = 16
MOST_LEADS = 4  # that one kernel looks at


class RandomConvolutionsOptions(Settings):
    """Options of random convolutions: how many ``kernels``, and the ``seed`` that they are of."""

    kernels: int = Field(500, ge=1, le=20_000)
    seed: int = Field(0, ge=0, le=2**31)


class RandomConvolutions(VectorEncoder):
    """Of each kernel its largest answer and the share of time in which it answers.

    ROCKET (Dempster, Petitjean and Webb 2020): lengths, weights, biases and dilations are drawn as
    there; a kernel looks at some leads of a signal ``(N, C, L)``. Kernels of one length and
    dilation are one convolution. Here the largest answer is compressed (the sign times log1p),
    since support sets are too small to see how far it spreads.
    """

    def __init__(
        self, options: RandomConvolutionsOptions, input_spec: InputSpec, norm: Norm
    ) -> None:
        super().__init__()
        leads, (samples,) = input_spec.channels, input_spec.size
        chance = np.random.default_rng(options.seed)
        grouped: dict[tuple[int, int], list[tuple[np.ndarray, float]]] = {}
        for _ in range(options.kernels):
            length = min(int(chance.choice(LENGTHS)), max(3, samples // 2))
            reach = math.log2(max(2.0, (samples - 1) / (length - 1)))
            dilation = int(2 ** chance.uniform(0, reach))
            few = int(2 ** chance.uniform(0, math.log2(min(leads, MOST_LEADS) + 1)))
            weights = np.zeros((leads, length), dtype=np.float32)
            for lead in chance.choice(leads, min(few, leads), replace=False):
                drawn = chance.normal(size=length)
                weights[lead] = drawn - drawn.mean()
            place = (length, dilation)
            grouped.setdefault(place, []).append((weights, float(chance.uniform(-1, 1))))
        self.dilations = [dilation for _, dilation in grouped]
        for number, own in enumerate(grouped.values()):
            kernels = torch.from_numpy(np.stack([weights for weights, _ in own]))
            self.register_buffer(f"kernels_{number}", kernels, persistent=False)
            biases = torch.tensor([bias for _, bias in own])
            self.register_buffer(f"biases_{number}", biases, persistent=False)
        self.embedding_size = 2 * options.kernels

    def embed(self, inputs: Tensor) -> Tensor:
        """``(N, C, L)`` to ``(N, 2 × kernels)``."""
        return outside_torch(inputs, self._features)

    def _features(self, signals: Tensor) -> Tensor:
        parts = []
        for number, dilation in enumerate(self.dilations):
            kernels = getattr(self, f"kernels_{number}").to(signals.dtype)
            reach = dilation * (kernels.shape[2] - 1) // 2
            answers = F.conv1d(signals, kernels, padding=reach, dilation=dilation)
            answers = answers + getattr(self, f"biases_{number}").to(signals.dtype)[:, None]
            most = answers.amax(2)
            parts.append((most.sign() * most.abs().log1p(), (answers > 0).to(signals).mean(2)))
        return torch.cat([part for pair in parts for part in pair], dim=1)


SPEC = EncoderSpec(
    "random_convolutions",
    "random waves in signals: how often, how strong (ROCKET, Dempster 2020)",
    RandomConvolutionsOptions,
    RandomConvolutions,
    takes=frozenset({"signal"}),
)
