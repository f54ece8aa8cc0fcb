from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from machine_limits import SMALLEST, copy_rate, count_work, limit_of


def test_operations_of_a_convolution_forward_and_backward() -> None:
    images = torch.randn(2, 3, 8, 8, requires_grad=True)
    weights = torch.randn(4, 3, 3, 3, requires_grad=True)

    def work() -> float:
        F.conv2d(images, weights, padding=1).sum().backward()
        return 2.0  # units: images

    once = 2 * (2 * 4 * 8 * 8) * (3 * 3 * 3)  # a product and a sum for each output and tap
    operations, _ = count_work(work)
    assert operations == pytest.approx(3 * once / 2)  # forward, and for images and weights


def test_bytes_are_those_read_and_written_but_not_views() -> None:
    a = torch.ones(1000)

    def work() -> float:
        (a.view(10, 100) + 1).view(-1)
        return 1.0

    _, moved = count_work(work)
    assert moved == {SMALLEST: 2 * 4000}


def test_the_limit_is_the_slower_of_products_and_moving() -> None:
    a = torch.randn(256, 256)

    def work() -> float:
        _ = a @ a
        return 1.0

    limit = limit_of(work)
    assert limit["gigaflop_per_unit"] == pytest.approx(2 * 256**3 / 1e9)
    assert limit["megabytes_per_unit"] == pytest.approx(3 * 256 * 256 * 4 / 1e6)
    longer = max(limit["seconds_of_products"], limit["seconds_of_moving"])
    assert limit["seconds_per_unit"] == longer


def test_copying_has_a_rate() -> None:
    assert copy_rate(SMALLEST) > 0
