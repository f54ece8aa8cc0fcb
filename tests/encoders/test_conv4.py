"""Conv-4: shapes and numbers of weights by arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError

GREY, COLOUR = InputSpec(1, (28, 28)), InputSpec(3, (84, 84))


def conv4(spec: InputSpec, norm: Any = "running", **options: Any) -> AbstractEncoder:
    return build_encoder(EncoderConfig(name="conv4", options=options), spec, norm=norm)


def weights(encoder: AbstractEncoder) -> int:
    return sum(p.numel() for p in encoder.parameters())


def test_conv4_64_on_grey_28_has_as_many_weights_as_arithmetic_says() -> None:
    # 3×3 kernels from 1 to 64 and three times from 64 to 64; a scale and a shift per channel.
    assert weights(conv4(GREY)) == 9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64 == 111_680


def test_without_normalisation_each_convolution_has_a_bias() -> None:
    assert weights(conv4(GREY, "none")) == 9 * 64 + 3 * 9 * 64 * 64 + 4 * 64 == 111_424


def test_conv4_32_on_colour_84() -> None:
    encoder = conv4(COLOUR, width=32)
    assert weights(encoder) == 9 * 3 * 32 + 3 * 9 * 32 * 32 + 4 * 2 * 32
    assert encoder.embedding_size == 25 * 32


@pytest.mark.parametrize(
    ("spec", "options", "size"),
    [
        (GREY, {}, 64),  # 28, 14, 7, 3, 1
        (COLOUR, {}, 1600),  # 84, 42, 21, 10, 5: 25 places
        (GREY, {"downsample": "stride"}, 256),  # 28, 14, 7, 4, 2: 4 places
        (COLOUR, {"embed": "mean"}, 64),
        (InputSpec(1, (16, 48)), {"width": 8}, 24),
        (COLOUR, {"width": 8, "pools": 2}, 8 * 21 * 21),  # as Relation Networks
        (GREY, {"width": 8, "pools": 0, "embed": "mean"}, 8),
        (GREY, {"width": 8, "pools": 2, "downsample": "stride"}, 8 * 7 * 7),
        (GREY, {"width": 8, "embed": "stages"}, 32),
    ],
)
def test_embeddings_have_the_size_of_the_papers(
    spec: InputSpec, options: dict[str, Any], size: int
) -> None:
    encoder = conv4(spec, **options).eval()
    assert encoder.embedding_size == size
    assert encoder(torch.zeros(2, *spec.shape)).shape == (2, size)


def test_stages_halve_the_image_and_pooled_stages_join_their_means() -> None:
    encoder = conv4(GREY, width=4).eval()
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    stages = encoder.stages(images)
    assert [tuple(stage.shape) for stage in stages] == [(2, 4, s, s) for s in (14, 7, 3, 1)]
    pooled = encoder.pooled_stages(images)
    assert pooled.shape == (2, 16)
    torch.testing.assert_close(pooled[:, :4], stages[0].mean((2, 3)))
    torch.testing.assert_close(pooled[:, 12:], encoder(images))


@pytest.mark.parametrize("size", [(15, 15), (16, 15), (8, 64)])
def test_images_that_cannot_be_halved_four_times_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match="too small: use images of at least 16×16"):
        conv4(InputSpec(1, size))


def test_only_the_first_blocks_pool_when_told_so() -> None:
    for downsample in ("pool", "stride"):
        encoder = conv4(GREY, width=4, pools=2, downsample=downsample)
        stages = encoder.eval().stages(torch.zeros(1, 1, 28, 28))
        assert [stage.shape[-1] for stage in stages] == [14, 7, 7, 7]
        assert weights(encoder) == weights(conv4(GREY, width=4))


def test_fewer_poolings_take_smaller_images() -> None:
    assert conv4(InputSpec(1, (4, 4)), width=4, pools=2).embedding_size == 4
    with pytest.raises(SettingsError, match=r"halves the image twice.*at least 4×4"):
        conv4(InputSpec(1, (3, 8)), pools=2)


@pytest.mark.parametrize("norm", ["group", "running", "none"])
def test_in_evaluation_an_image_is_embedded_for_itself(norm: str) -> None:
    encoder = conv4(GREY, norm, width=8).eval()
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(encoder(images)[:1], encoder(images[:1]))


def test_batch_statistics_couple_images_also_in_evaluation() -> None:
    encoder = conv4(GREY, "batch", width=8).eval()
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(encoder(images)[:1], encoder(images[:1]), atol=1e-2)
    assert list(encoder.buffers()) == []


@pytest.mark.parametrize("spec", [GREY, InputSpec(3, (28, 28))])
def test_outputs_and_gradients_are_those_of_the_papers_order_of_layers(spec: InputSpec) -> None:
    """Convolution, normalisation, ReLU, pooling: written out, in double precision."""
    encoder = conv4(spec, width=4).double()
    random = torch.Generator().manual_seed(0)
    images = torch.randn(6, *spec.shape, generator=random, dtype=torch.float64)
    wanted = images
    for block in encoder.blocks:  # type: ignore[union-attr]
        convolution, norm, *_ = block
        wanted = F.conv2d(wanted, convolution.weight, padding=1)
        normalised = F.batch_norm(wanted, None, None, norm.weight, norm.bias, training=True)
        wanted = F.max_pool2d(F.relu(normalised), 2)
    found = encoder.train()(images)
    torch.testing.assert_close(found, wanted.flatten(1))
    parameters = list(encoder.parameters())
    one = torch.autograd.grad(found.square().sum(), parameters)
    other = torch.autograd.grad(wanted.square().sum(), parameters)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)
