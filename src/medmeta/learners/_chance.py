"""Chance by a task's own id, drawn where the task's tensors are: by integers, the same anywhere."""

from __future__ import annotations

import torch
from torch import Tensor

# Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators (SplitMix64): each
# number is a function of its place alone, so no task waits for another, nor for the processor.
STEP = 0x9E3779B97F4A7C15
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def permutations(task_ids: Tensor, n: int, *, draw: int = 0) -> Tensor:
    """An order of ``n`` things for each task ``(T,)`` of int64: ``(T, n)``.

    ``draw`` numbers the orders that one task needs.

    >>> permutations(torch.tensor([7, 8, 7]), 4).sort(1).values.tolist()
    [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    >>> first, _, again = permutations(torch.tensor([7, 8, 7]), 20)
    >>> bool((first == again).all())
    True
    """
    places = torch.arange(n, device=task_ids.device)
    of_task = mixed(mixed(task_ids.long()) + draw)
    return mixed(of_task[:, None] + places).argsort(1)


def mixed(numbers: Tensor) -> Tensor:
    """SplitMix64's number at each place (int64, any shape), as int64.

    >>> hex(mixed(torch.tensor([0])).item() % 2**64)
    '0xe220a8397b1dcdaf'
    """
    found: Tensor = numbers + _signed(STEP)
    for shift, factor in ROUNDS:
        found = (found ^ _shifted(found, shift)) * _signed(factor)
    return found ^ _shifted(found, 31)


def _shifted(numbers: Tensor, by: int) -> Tensor:
    """To the right, zeros coming in: torch has no unsigned shift."""
    shifted: Tensor = (numbers >> by) & (2 ** (64 - by) - 1)
    return shifted


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number
