"""The networks that both sides run: ours as the registry builds it, and the same written plainly.

Peers get the plain one, with the weights of ours: the layers that anybody would write down, without
what medmeta's encoders do besides (stages kept, batch statistics written out).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner

WIDTH = 64
STRIDED = {"downsample": "stride", "embed": "mean"}
MAML_ENCODER: dict[str, Any] = {"name": "conv4", "norm": "batch", "options": STRIDED}


def gradient_learner(
    name: str, seed: int, *, way: int = 5, size: int = 28, **options: Any
) -> AbstractLearner:
    """MAML or its kin on Omniglot's stride-2 Conv-4-64, statistics of the batch (Finn 2017)."""
    torch.manual_seed(seed)
    config = {"inner_rate": 0.4, **options, "encoder": MAML_ENCODER}
    return build_learner(name, config, InputSpec(1, (size, size)), Target("classes", way)).train()


def headed_learner(
    name: str, seed: int, channels: int, size: int, *, way: int = 5, encoder: str = "conv4"
) -> AbstractLearner:
    """An encoder with running statistics under a head."""
    torch.manual_seed(seed)
    config = {"encoder": {"name": encoder, "norm": "running"}}
    spec = InputSpec(channels, (size, size))
    return build_learner(name, config, spec, Target("classes", way))


class Mean(nn.Module):
    """Mean over space."""

    def forward(self, maps: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C)``."""
        return maps.mean((2, 3))


def plain_maml_network(learner: AbstractLearner, *, way: int = 5) -> nn.Sequential:
    """The network of ``gradient_learner`` as a plain ``nn.Sequential``, with its weights."""
    blocks = [_block(inner, WIDTH, strided=True) for inner, _ in pairwise([1] + [WIDTH] * 4)]
    return with_weights(nn.Sequential(*blocks, Mean(), nn.Linear(WIDTH, way)), learner)


def plain_encoder(learner: AbstractLearner, channels: int) -> nn.Sequential:
    """The Conv-4 of ``headed_learner`` as a plain ``nn.Sequential``, with its weights."""
    blocks = [
        _block(inner, WIDTH, strided=False) for inner, _ in pairwise([channels] + [WIDTH] * 4)
    ]
    return with_weights(nn.Sequential(*blocks, nn.Flatten()), learner)


def with_weights(network: nn.Sequential, learner: AbstractLearner) -> nn.Sequential:
    """Copy a learner's tensors, in their order, which is that of the layers in both."""
    names = list(network.state_dict())
    ours = list(learner.state_dict().values())[: len(names)]  # learned rates come after the network
    network.load_state_dict(dict(zip(names, ours, strict=True)))
    return network.train()


def _block(inner: int, outer: int, *, strided: bool) -> nn.Sequential:
    """No bias before a normalisation, which would take it out again."""
    convolution = nn.Conv2d(inner, outer, 3, stride=2 if strided else 1, padding=1, bias=False)
    norm = nn.BatchNorm2d(outer, track_running_stats=not strided)
    return nn.Sequential(convolution, norm, nn.ReLU(), *([] if strided else [nn.MaxPool2d(2)]))
