"""How images lie in memory."""

from __future__ import annotations

from torch import Tensor, channels_last

from medmeta.tasks import is_differentiated_twice, tasks_at_once


def channels_innermost(images: Tensor) -> Tensor:
    """The same images ``(N, C, H, W)`` with channels innermost, in which convolutions are faster.

    One channel lies either way, and torch would take it for the slower: its strides are set.
    Other shapes come back as they are, and so do images of batched tasks and those that an inner
    step differentiates twice: second derivatives of convolutions come in torch's own layout, and
    two layouts in one operation are slower than either.

    >>> import torch
    >>> channels_innermost(torch.zeros(2, 1, 28, 28)).stride()
    (784, 1, 28, 1)
    """
    if images.ndim != 4 or tasks_at_once() or is_differentiated_twice():
        return images
    if images.shape[1] == 1:
        n, _, height, width = images.shape
        return images.reshape(n, height, width, 1).permute(0, 3, 1, 2)
    return images.contiguous(memory_format=channels_last)
