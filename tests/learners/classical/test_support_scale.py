"""Embeddings in units of the support's spread: what few and what many images say."""

import torch
from sklearn.preprocessing import StandardScaler

from medmeta.learners.classical._support_scale import PRIOR_IMAGES, SupportScale
from tests.learners.normal_numbers import normal


def test_with_many_images_each_feature_counts_alike() -> None:
    images = normal(1, 200_000, 4) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    ours = SupportScale.of(images).apply(images)[0].numpy()
    assert abs(ours - StandardScaler().fit_transform(images[0])).max() < 0.05
    assert abs(ours.std(0) - 1).max() < 0.05


def test_with_few_images_distances_stay_nearly_as_they_were() -> None:
    images = normal(1, 5, 64)
    ours = SupportScale.of(images).apply(images)
    ratios = torch.pdist(ours[0]) / torch.pdist(images[0])
    assert ratios.max() / ratios.min() < 1.02


def test_variances_are_drawn_to_their_mean() -> None:
    """Variances 1 and 9 of two images; their mean, 5, counts as many more images."""
    images = torch.tensor([[[-1.0, -3.0], [1.0, 3.0]]])
    n = 2 + PRIOR_IMAGES
    expected = torch.tensor([(2 * 1 + PRIOR_IMAGES * 5) / n, (2 * 9 + PRIOR_IMAGES * 5) / n]).sqrt()
    torch.testing.assert_close(SupportScale.of(images).spread[0, 0], expected)


def test_lengths_do_not_grow_with_the_number_of_features() -> None:
    for size in (3, 300):
        images = 7 * normal(1, 20, size)
        found = SupportScale.of(images).apply_to_length(images).square().sum(-1).mean()
        assert 0.9 < found < 1.1


def test_images_all_alike_stay_finite_and_differentiable() -> None:
    images = torch.full((1, 3, 4), 1e4, requires_grad=True)
    found = SupportScale.of(images).apply(images)
    found.sum().backward()
    assert images.grad is not None
    assert found.isfinite().all()
    assert images.grad.isfinite().all()
