"""The normalisation layers behind the named settings."""

from __future__ import annotations

import math

from torch import nn

from medmeta.encoders._interface import Norm

GROUPS = 8
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def norm_2d(norm: Norm, channels: int) -> nn.Module:
    """A normalisation layer for ``(N, channels, H, W)``.

    Groups: Wu and He 2018. Running and batch statistics: Ioffe and Szegedy 2015; ``batch`` keeps
    no running statistics, so it also uses those of the batch at hand in evaluation.
    """
    if norm == "group":
        return nn.GroupNorm(math.gcd(GROUPS, channels), channels)
    if norm == "none":
        return nn.Identity()
    return nn.BatchNorm2d(channels, track_running_stats=norm == "running")


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
    return any(
        isinstance(module, BATCH_NORMS) and module.running_mean is None
        for module in network.modules()
    )
