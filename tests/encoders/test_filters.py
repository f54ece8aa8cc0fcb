"""Filters of pixels, over one to three axes of space, against other ways to compute them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.encoders._dimensions import folded, unfolded
from medmeta.encoders._slopes import slopes
from medmeta.encoders.filters import Filters, _blurred
from medmeta.episode import InputSpec

SPECS = (InputSpec(1, (21,)), InputSpec(3, (12, 17)), InputSpec(1, (9, 10, 11)))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
@pytest.mark.parametrize("place", [True, False, None])
def test_there_are_as_many_features_as_are_said(spec: InputSpec, place: bool | None) -> None:
    config = EncoderConfig(name="filters", options={"place": place})
    encoder = build_encoder(config, spec, norm="none")
    assert isinstance(encoder, Filters)
    found = encoder.dense(torch.rand(2, *spec.shape))
    assert found.shape == (2, encoder.dense_size, *spec.size)


def test_of_volumes_the_place_is_no_feature_unless_asked_for() -> None:
    """A patch may lie anywhere: moved by four voxels, its inside looks the same."""
    encoder = build_encoder(EncoderConfig(name="filters"), SPECS[2], norm="none")
    assert isinstance(encoder, Filters)
    volume = torch.rand(1, 1, 40, 40, 40)
    one = encoder.dense(volume[..., :36, :, :])
    moved = encoder.dense(volume[..., 4:, :, :])
    middle = slice(16, 20)
    torch.testing.assert_close(
        one[:, :6, 20:24, middle, middle], moved[:, :6, 16:20, middle, middle]
    )
    assert encoder.dense_size == 2 + 12 + 9


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_blurring_is_scipys(axes: int) -> None:
    images = torch.rand(1, 1, *[14] * axes, dtype=torch.float64)
    theirs = ndimage.gaussian_filter(images[0, 0].numpy(), 2, mode="nearest", truncate=3)
    torch.testing.assert_close(_blurred(images, 2)[0, 0], torch.from_numpy(theirs))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_eigenvalues_are_those_of_the_hessian(axes: int) -> None:
    images = torch.randn(1, 1, *[6] * axes, dtype=torch.float64)
    padded = F.pad(images, [1] * (2 * axes), mode="replicate")[0, 0].numpy()
    hessian = torch.empty(*[6] * axes, axes, axes, dtype=torch.float64)
    gradient = torch.empty(*[6] * axes, axes, dtype=torch.float64)
    inner = (slice(1, -1),) * axes
    for a in range(axes):
        first = torch.from_numpy(ndimage.correlate1d(padded, [-0.5, 0, 0.5], axis=a))
        gradient[..., a] = first[inner]
        second = torch.from_numpy(ndimage.correlate1d(padded, [1.0, -2, 1], axis=a))
        hessian[..., a, a] = second[inner]
        for b in range(a + 1, axes):
            crossed = ndimage.correlate1d(first.numpy(), [-0.5, 0, 0.5], axis=b)
            hessian[..., a, b] = hessian[..., b, a] = torch.from_numpy(crossed)[inner]
    length, *found = slopes(images)
    wanted = torch.linalg.eigvalsh(hessian).flip(-1)
    torch.testing.assert_close(length[0, 0], gradient.norm(dim=-1), rtol=1e-4, atol=1e-5)
    for number, one in enumerate(found):
        torch.testing.assert_close(one[0, 0], wanted[..., number], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_folds_are_unfolded(axes: int) -> None:
    maps = torch.randn(2, 3, *[6, 4, 8][:axes])
    small = folded(maps, 2)
    assert small.shape == (2, 3 * 2**axes, *[3, 2, 4][:axes])
    assert torch.equal(unfolded(small, 2), maps)


def test_a_fold_of_volumes_holds_each_cube_as_channels() -> None:
    """A volume of one slice doubled folds to what torch makes of the slice, twice."""
    slices = torch.randn(1, 2, 4, 6)
    volume = slices[:, :, None].expand(-1, -1, 2, -1, -1)
    found = folded(volume, 2).reshape(1, 2, 2, 4, 2, 3)
    wanted = F.pixel_unshuffle(slices, 2).reshape(1, 2, 4, 2, 3)
    assert torch.equal(found[:, :, 0], wanted)
    assert torch.equal(found[:, :, 1], wanted)
