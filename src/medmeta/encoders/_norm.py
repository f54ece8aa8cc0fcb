"""The normalisation layers behind the named settings."""

from __future__ import annotations

import math

from torch import nn

from medmeta.encoders._interface import Norm

GROUPS = 8


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
