"""Means of classes against a plain loop."""

from __future__ import annotations

import torch

from medmeta.learners._class_sums import class_means


def test_means_equal_a_plain_loop() -> None:
    random = torch.Generator().manual_seed(0)
    embeddings = torch.randn(3, 9, 4, generator=random, dtype=torch.float64)
    labels = torch.stack(
        [torch.arange(9) % 3, torch.arange(9) // 3, torch.tensor([0, 1] + [2] * 7)]
    )
    found = class_means(embeddings, labels, 3)
    for t in range(3):
        for n in range(3):
            torch.testing.assert_close(found[t, n], embeddings[t][labels[t] == n].mean(0))


def test_a_class_without_images_has_the_mean_zero() -> None:
    found = class_means(torch.ones(1, 2, 3), torch.tensor([[0, 2]]), 4)
    assert found[0].sum(1).tolist() == [3.0, 0.0, 3.0, 0.0]
