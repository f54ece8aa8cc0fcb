"""Which modalities of an image are there, told to a network that sees all of them as channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Present(nn.Module):
    """Blanks the channels of modalities that are missing, and adds which are there as channels.

    ``(N, C, *space)`` and ``(N, M)`` to ``(N, C + M, *space)``; every modality has the same number
    of channels, one after the other. What is left is enlarged, so that the sum over channels that
    a convolution makes stays of one size, whatever is missing (as dropout does).

    >>> images, there = torch.ones(1, 2, 1), torch.tensor([[1.0, 0.0]])
    >>> Present(2)(images, there).flatten().tolist()
    [2.0, 0.0, 1.0, 0.0]
    """

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.modalities = modalities

    def forward(self, images: Tensor, present: Tensor) -> Tensor:
        """Images with the missing blanked, and a plane for each modality: 1 where it is there."""
        there = (present > 0).to(images.dtype)
        space = [1] * (images.ndim - 2)
        share = there.mean(1, keepdim=True).clamp(min=1 / self.modalities)
        each = (there / share).repeat_interleave(images.shape[1] // self.modalities, dim=1)
        planes = there.reshape(*there.shape, *space).expand(-1, -1, *images.shape[2:])
        return torch.cat([images * each.reshape(*each.shape, *space), planes], dim=1)


def forgotten_some(present: Tensor, share: float) -> Tensor:
    """``present`` ``(N, M)`` without some modalities of that share of images; one stays for each.

    >>> bool(forgotten_some(torch.ones(100, 3), 0.9).sum(1).min() >= 1)
    True
    """
    chance = torch.rand(present.shape, device=present.device)
    kept = present * (chance >= share)
    nothing = (kept > 0).sum(1, keepdim=True) == 0
    best = (chance * (present > 0)).argmax(1, keepdim=True)
    one = torch.zeros_like(present).scatter(1, best, 1.0) * (present > 0)
    return torch.where(nothing, one, kept)
