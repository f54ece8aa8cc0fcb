"""A memory that is read by content and written to what was read just now or used least.

Least-recently-used access of Santoro et al. 2016. ``B`` memories of ``N`` slots of ``W`` numbers,
with ``R`` heads, each of which reads and writes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-8  # squared length that is as good as none: an erased slot resembles nothing


class Memory(NamedTuple):
    """What is stored, and where: a value that no operation changes.

    ``slots`` ``(B, N, W)``; ``reading`` ``(B, R, N)`` where each head read last; ``usage``
    ``(B, N)`` how much each slot was used of late.
    """

    slots: Tensor
    reading: Tensor
    usage: Tensor


def blank(like: Tensor, n_slots: int, width: int, n_heads: int) -> Memory:
    """Empty memories, as many as ``like`` has rows: nothing stored, read or used."""
    n = len(like)
    return Memory(
        like.new_zeros(n, n_slots, width),
        like.new_zeros(n, n_heads, n_slots),
        like.new_zeros(n, n_slots),
    )


def least_used(usage: Tensor, n: int) -> Tensor:
    """The ``n`` least used slots, the least first: ``(B, n)`` (equation 6).

    The first of equals. Each head writes to one of them, as in public code; the paper's equation
    read to the letter would have every head write to all.

    >>> least_used(torch.tensor([[0.5, 0.0, 0.2, 0.0]]), 3)
    tensor([[1, 3, 2]])
    """
    return usage.sort(dim=1, stable=True).indices[:, :n]


def write(memory: Memory, vectors: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """Slots after the write ``(B, N, W)``, and where each head wrote ``(B, R, N)``.

    ``vectors`` ``(B, R, W)``; ``gates`` ``(B, R, 1)`` between 0 and 1: how much goes where the head
    read last, the rest to a least used slot (equation 7). The least used slot of all is erased
    first (equation 8).
    """
    free = least_used(memory.usage, gates.shape[1])
    weights = (gates * memory.reading).scatter_add(2, free[..., None], 1 - gates)
    kept = torch.ones_like(memory.usage).scatter(1, free[:, :1], 0.0)
    slots = torch.baddbmm(memory.slots * kept[..., None], weights.mT, vectors)
    return slots, weights


def read(slots: Tensor, keys: Tensor, strengths: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """What each key finds ``(B, K, W)``, and where ``(B, K, N)``: softmax of cosines (2 to 4).

    ``slots`` ``(B, N, W)``, ``keys`` ``(B, K, W)``. Cosines are multiplied by the keys'
    ``strengths`` ``(B, K, 1)`` (Graves, Wayne and Danihelka 2014, equation 5).

    >>> slots = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])
    >>> read(slots, torch.tensor([[[5.0, 0.0]]]))[1]
    tensor([[[0.7311, 0.2689]]])
    """
    lengths = (slots.square().sum(-1) + TINY).rsqrt()
    keys = keys * (strengths * (keys.square().sum(-1, keepdim=True) + TINY).rsqrt())
    weights = (torch.bmm(keys, slots.mT) * lengths[:, None]).softmax(dim=-1)
    return torch.bmm(weights, slots), weights


def used(usage: Tensor, reading: Tensor, writing: Tensor, decay: float) -> Tensor:
    """Usage after a step: what it was, decayed, and what was read and written (equation 5)."""
    # It only chooses slots, which has no gradient.
    return decay * usage + reading.detach().sum(1) + writing.detach().sum(1)
