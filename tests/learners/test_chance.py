"""Chance by a task's id: the published generator's numbers, every order as likely as another."""

from __future__ import annotations

from collections import Counter
from itertools import permutations as all_orders

import torch

from medmeta.learners._chance import STEP, mixed, permutations

# What SplitMix64 (Steele, Lea and Flood 2014; Vigna's C code) gives from the seed 0.
FIRST = (
    0xE220A8397B1DCDAF,
    0x6E789E6AA1B965F4,
    0x06C45D188009454F,
    0xF88BB8A8724C81EC,
    0x1B39896A51A8749B,
)


def test_the_numbers_are_those_of_the_published_generator() -> None:
    counters = [(k * STEP) % 2**64 for k in range(len(FIRST))]
    signed = [c - 2**64 if c >= 2**63 else c for c in counters]
    found = mixed(torch.tensor(signed))
    assert [number % 2**64 for number in found.tolist()] == list(FIRST)


def test_every_order_comes_as_often_as_another() -> None:
    """Of consecutive ids, as tasks have them: chi-squared with 23 degrees of freedom."""
    n_tasks, orders = 48_000, list(all_orders(range(4)))
    for draw in range(3):
        found = Counter(map(tuple, permutations(torch.arange(n_tasks), 4, draw=draw).tolist()))
        expected = n_tasks / len(orders)
        squared = sum((found[order] - expected) ** 2 / expected for order in orders)
        assert squared < 49.7  # one in a thousand is above


def test_a_task_s_order_is_its_own_and_draws_differ() -> None:
    ids = torch.tensor([5, 2**62, 5, -3])
    orders = permutations(ids, 30)
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders, permutations(ids, 30, draw=1))
    assert torch.equal(permutations(ids[1:2], 30), orders[1:2])
    assert torch.equal(orders.sort(1).values, torch.arange(30).expand(4, 30))
