"""Counting what operators make."""

from __future__ import annotations

import torch

from medmeta.training.bytes_made import BytesMade


def test_products_and_their_gradients_are_counted_and_views_are_not() -> None:
    left, right = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7)
    with BytesMade() as made:
        product = (left @ right).T[:2]
    assert made.bytes == 4 * 3 * 7
    with BytesMade() as made:
        torch.autograd.grad(product.sum(), left)
    assert made.bytes >= 4 * (1 + 3 * 5)  # the sum, and the gradient


def test_operators_in_place_make_nothing() -> None:
    numbers = torch.ones(16)
    with BytesMade() as made:
        numbers.add_(1).mul_(2)
    assert made.bytes == 0
