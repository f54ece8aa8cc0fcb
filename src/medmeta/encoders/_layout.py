"""How images lie in memory."""

from __future__ import annotations

from torch import Tensor, channels_last, channels_last_3d

from medmeta.tasks import is_differentiated_twice, tasks_at_once

FORMATS = {4: channels_last, 5: channels_last_3d}


def channels_innermost(images: Tensor) -> Tensor:
    """The same images ``(N, C, [D,] H, W)`` with channels innermost: convolutions are faster so.

    One channel lies either way, and torch would take it for the slower: its strides are set.
    Other shapes come back as they are, and so do images of batched tasks and those that an inner
    step differentiates twice: second derivatives of convolutions come in torch's own layout, and
    two layouts in one operation are slower than either.

    >>> import torch
    >>> channels_innermost(torch.zeros(2, 1, 28, 28)).stride()
    (784, 1, 28, 1)
    """
    if images.ndim not in FORMATS or tasks_at_once() or is_differentiated_twice():
        return images
    if images.shape[1] == 1:
        return images.reshape(images.shape[0], *images.shape[2:], 1).movedim(-1, 1)
    return images.contiguous(memory_format=FORMATS[images.ndim])
