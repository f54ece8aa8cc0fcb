"""The normalisation layers behind the named settings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medmeta.encoders._interface import Norm
from medmeta.tasks import one_task_at_a_time

GROUPS = 8
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def norm_layer(norm: Norm, channels: int, dimensions: int = 2) -> nn.Module:
    """A normalisation layer for ``(N, channels, *space)`` with so many axes of space, 1 to 3.

    Groups: Wu and He 2018. Running and batch statistics: Ioffe and Szegedy 2015.
    """
    if norm == "group":
        return nn.GroupNorm(math.gcd(GROUPS, channels), channels)
    if norm == "none":
        return nn.Identity()
    return BATCH_NORMS[dimensions - 1](channels) if norm == "running" else BatchStatistics(channels)


class BatchStatistics(nn.Module):
    """Normalises ``(N, channels, *space)`` by the batch at hand, in evaluation too.

    The same as ``nn.BatchNorm2d(channels, track_running_stats=False)``, with the same names of
    weights. Written out where tasks are batched: under ``vmap`` torch's own has a wrong second
    derivative (seen in 2.13: meta-gradients off by a quarter of a percent), which MAML needs.

    >>> images = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1)
    >>> BatchStatistics(1).requires_grad_(False)(images).flatten()
    tensor([-1.0000,  1.0000])
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(N, channels, *space)`` to the same shape."""
        if one_task_at_a_time():
            eps, momentum, training, cudnn = self.eps, 0.0, True, inputs.is_cuda
            return torch.batch_norm(
                inputs, self.weight, self.bias, None, None, training, momentum, eps, cudnn
            )
        # In two passes: several times faster than torch.var_mean, which goes number by number.
        others = (0, *range(2, inputs.ndim))
        centred = inputs - inputs.mean(others, keepdim=True)
        variance = centred.square().mean(others)
        scale = self.weight * (variance + self.eps).rsqrt()
        of_channels = (-1, *[1] * (inputs.ndim - 2))
        scaled = torch.addcmul(self.bias.reshape(of_channels), centred, scale.reshape(of_channels))
        return scaled.to(inputs.dtype)


def keeps_running_statistics(network: nn.Module) -> bool:
    """Whether a network updates statistics of what it sees while it trains.

    >>> keeps_running_statistics(nn.BatchNorm2d(4)), keeps_running_statistics(nn.GroupNorm(1, 4))
    (True, False)
    """
    return any(getattr(m, "running_mean", None) is not None for m in network.modules())


def uses_batch_statistics(network: nn.Module) -> bool:
    """Whether a network normalises by the batch at hand in evaluation too.

    >>> uses_batch_statistics(nn.BatchNorm2d(4, track_running_stats=False))
    True
    """
    written_out = any(isinstance(module, BatchStatistics) for module in network.modules())
    return written_out or uses_fused_batch_statistics(network)


def uses_fused_batch_statistics(network: nn.Module) -> bool:
    """Whether a network does so by torch's own layers, whose second derivative needs a loop."""
    return any(
        isinstance(module, BATCH_NORMS) and module.running_mean is None
        for module in network.modules()
    )
