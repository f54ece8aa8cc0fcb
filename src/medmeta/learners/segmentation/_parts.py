"""What learners of masks share: encoders of pixels, and queries answered some at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from medmeta.encoders import AbstractEncoder, DenseEncoder, dense_encoder, uses_batch_statistics
from medmeta.episode import TargetKind
from medmeta.errors import SettingsError

MASKS: frozenset[TargetKind] = frozenset({"masks"})
PAIRS = 24  # of 128 by 128 pixels, at once


def in_parts(answer: Callable[[Tensor], Tensor], queries: Tensor, per_query: int) -> Tensor:
    """``answer`` of queries ``(T, Q, C, *space)``, as many at once as is good for memory.

    ``per_query`` is how many support images each is held against. With gradients all at once.
    """
    n = queries.shape[1]
    pixels = math.prod(queries.shape[3:]) * queries.shape[0]
    size = max(1, int(PAIRS * 128 * 128 / (pixels * max(1, per_query))))
    if torch.is_grad_enabled() or n <= size:
        return answer(queries)
    return torch.cat([answer(queries[:, at : at + size]) for at in range(0, n, size)], dim=1)


def pixel_encoder(encoder: AbstractEncoder) -> DenseEncoder:
    """An encoder of every pixel, whose images are apart.

    Raises ``UnsupportedTaskError`` where it says nothing of pixels, ``SettingsError`` where it
    normalises by the batch at hand, through which the tasks of a batch would help each other.
    """
    if uses_batch_statistics(encoder):
        raise SettingsError(
            "learners of masks take no statistics of the batch at hand (norm=batch); use "
            "norm=group."
        )
    return dense_encoder(encoder)
