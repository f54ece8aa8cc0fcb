"""Hand-made features: against scikit-image and NumPy, and on images whose features are known."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from skimage.feature import hog
from torch import Tensor

from medmeta.check_tasks import TaskMaker
from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.episode import InputSpec, Target
from medmeta.errors import MissingExtraError, SettingsError
from medmeta.learners import build_learner

COLOUR = InputSpec(3, (24, 32))


def features(spec: InputSpec = COLOUR, **options: Any) -> AbstractEncoder:
    return build_encoder(EncoderConfig(name="hog_colour", options=options), spec, norm="none")


def images(n: int, spec: InputSpec = COLOUR, seed: int = 0) -> Tensor:
    """Floats of uint8 images, as encoders are given them."""
    whole = np.random.default_rng(seed).integers(0, 256, (n, *spec.shape))
    return torch.from_numpy(whole).float() * (4 / 255) - 2


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_of_scikit_image_and_histograms_those_of_numpy(channels: int) -> None:
    spec = InputSpec(channels, (24, 32))
    found = features(spec, cells=4, orientations=6, bins=8)(images(2, spec)).double().numpy()
    blocks = 3 * 4  # cells of 6 pixels (24 / 4): 4 × 5 of them
    gradients = blocks * 4 * 6
    for vector, image in zip(found, images(2, spec).numpy(), strict=True):
        pixels = (image.astype(np.float64) + 2) / 4
        wanted = hog(pixels.transpose(1, 2, 0), 6, (6, 6), (2, 2), channel_axis=-1)
        assert len(wanted) == gradients
        shape = vector[:gradients]
        np.testing.assert_allclose(shape / np.linalg.norm(shape), wanted / np.linalg.norm(wanted),
                                   atol=1e-5)  # fmt: skip
        counts = [np.histogram(plane, bins=8, range=(0, 1))[0] for plane in pixels]
        shares = np.concatenate(counts) / (24 * 32)
        look = vector[gradients:]
        np.testing.assert_allclose(look**2 / (look**2).sum(), shares / channels, atol=1e-5)


def test_both_halves_have_one_length_and_the_mean_square_is_one() -> None:
    encoder = features(InputSpec(1, (64, 64)))
    assert encoder.embedding_size == 9 * 4 * 9 + 16
    found = encoder(images(3, InputSpec(1, (64, 64))))
    torch.testing.assert_close(found.square().mean(1), torch.ones(3), rtol=1e-3, atol=0)
    torch.testing.assert_close(
        found[:, 324:].square().sum(1), torch.full((3,), 340 / 2.0), rtol=1e-5, atol=0
    )


def test_stripes_have_gradients_across_and_a_flat_image_has_none() -> None:
    spec = InputSpec(1, (16, 16))
    upright = (torch.arange(16.0) // 2 % 2 * 4 - 2).expand(1, 1, 16, 16)
    encoder = features(spec, cells=2, orientations=2, bins=2)
    across, along = encoder(upright)[0, :8].reshape(4, 2).sum(0)
    assert across > 0
    assert along == 0
    across, along = encoder(upright.mT)[0, :8].reshape(4, 2).sum(0)
    assert (float(across), along > 0) == (0.0, True)
    flat = encoder(torch.full((1, 1, 16, 16), 2.0))
    assert flat[0, :8].eq(0).all()
    torch.testing.assert_close(flat[0, 8:], torch.tensor([0.0, 5**0.5]))  # all in the brighter bin


def test_values_outside_the_range_count_in_the_outermost_bins() -> None:
    spec = InputSpec(1, (16, 16))
    found = features(spec, bins=4)(torch.full((1, 1, 16, 16), 9.0))
    assert torch.equal(found, features(spec, bins=4)(torch.full((1, 1, 16, 16), 2.0)))


@pytest.mark.parametrize("size", [(16, 16), (30, 30), (17, 63), (84, 84)])
@pytest.mark.parametrize("cells", [2, 8, 64])
def test_any_size_has_the_embedding_that_was_promised(size: tuple[int, int], cells: int) -> None:
    spec = InputSpec(1, size)
    encoder = features(spec, cells=cells)
    assert encoder(images(2, spec)).shape == (2, encoder.embedding_size)


def test_an_image_s_features_are_its_own_and_the_same_twice() -> None:
    encoder, some = features(), images(4)
    assert torch.equal(encoder(some)[2:3], encoder(some[2:3]))
    last = some.contiguous(memory_format=torch.channels_last)
    assert torch.equal(encoder(last), encoder(some))
    assert list(encoder.parameters()) == list(encoder.buffers()) == []


def test_too_small_images_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"at least 16×16, not \(15, 40\)"):
        features(InputSpec(1, (15, 40)))


def test_without_scikit_image_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(MissingExtraError, match=r"hog_colour needs .*'medmeta\[features\]'"):
        features()


def test_under_vmap_and_within_gradients_they_are_the_same() -> None:
    encoder, tasks = features(), images(6).unflatten(0, (2, 3))
    alone = torch.stack([encoder(task) for task in tasks])
    assert torch.equal(torch.func.vmap(encoder)(tasks), alone)

    def score(weight: Tensor, task: Tensor) -> Tensor:
        return (encoder(task) @ weight).square().sum()

    weight = torch.ones(encoder.embedding_size)
    found = torch.func.vmap(torch.func.grad(score), in_dims=(None, 0))(weight, tasks)
    wanted = torch.stack([2 * (task.T @ (task @ weight)) for task in alone])
    torch.testing.assert_close(found, wanted)


def test_maml_descends_on_them() -> None:
    spec, target = InputSpec(1, (16, 16)), Target("classes", 2)
    learner = build_learner("maml", {"encoder": {"name": "hog_colour"}}, spec, target)
    loss = learner.loss(TaskMaker(spec, target).episode(2, n_shot=1, n_query=2, seed=0))
    loss.mean().backward()  # type: ignore[no-untyped-call]
    assert all(bool(p.grad.isfinite().all()) for p in learner.parameters() if p.grad is not None)
    assert any(bool(p.grad.any()) for p in learner.parameters() if p.grad is not None)
