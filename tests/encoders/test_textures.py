"""Hand-made features of grain and colour: against scikit-image and NumPy, and on known images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.feature import local_binary_pattern
from torch import Tensor

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.encoders.local_patterns import uniform_patterns
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError

GREY, COLOUR = InputSpec(1, (32, 40)), InputSpec(3, (32, 40))
NAMES = ["colours", "local_patterns", "spectrum"]


def encoder(name: str, spec: InputSpec = COLOUR, **options: object) -> AbstractEncoder:
    return build_encoder(EncoderConfig(name=name, options=options), spec, norm="none")


def images(n: int, spec: InputSpec = COLOUR, seed: int = 0) -> Tensor:
    """Floats of uint8 images, as encoders are given them."""
    whole = np.random.default_rng(seed).integers(0, 256, (n, *spec.shape))
    return torch.from_numpy(whole).float() * (4 / 255) - 2


def disc(height: int, width: int) -> np.ndarray:
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.hypot(y, x) < 0.625


def test_local_patterns_are_those_of_scikit_image() -> None:
    given = images(2, GREY)
    found = encoder("local_patterns", GREY)(given)
    inside = disc(32, 40)
    for vector, image in zip(found, given, strict=True):
        grey = ((image[0] + 2) / 4 * 255).round().byte().numpy()
        wanted = []
        for radius, count in ((1, 8), (2, 12), (4, 16)):
            codes = local_binary_pattern(grey, count, radius, "uniform").astype(int)
            for part in (codes[inside], codes[~inside]):
                wanted.append(np.bincount(part, minlength=count + 2) / part.size)
        shares = vector.square().numpy() * 6 / len(vector)
        np.testing.assert_allclose(shares, np.concatenate(wanted), atol=1e-5)


@pytest.mark.parametrize(("count", "radius"), [(8, 1), (12, 2), (16, 4), (20, 24)])
def test_patterns_are_bit_by_bit_those_of_scikit_image(count: int, radius: int) -> None:
    """On noise, on few levels (many ties), and on a flat picture with a darker square."""
    chance = np.random.default_rng(count)
    pictures = np.stack(
        [chance.integers(0, 256, (33, 46)), chance.integers(0, 3, (33, 46)), np.full((33, 46), 7)]
    )
    pictures[2, 9:20, 5:30] = 3
    found = uniform_patterns(pictures.astype(np.float64), count, radius)
    wanted = [
        local_binary_pattern(one.astype(np.uint8), count, radius, "uniform") for one in pictures
    ]
    assert np.array_equal(found, np.stack(wanted))


def test_colours_are_histograms_of_opponent_colours() -> None:
    given = images(2)
    found = encoder("colours", bins=4)(given).square() * 8 / 32
    inside = disc(32, 40)
    for shares, image in zip(found.numpy(), given.numpy(), strict=True):
        red, green, blue = (image + 2) / 4
        most, least = np.max([red, green, blue], 0), np.min([red, green, blue], 0)
        seen = [
            0.299 * red + 0.587 * green + 0.114 * blue,
            np.clip(((red - green + 1) / 2 - 0.2) / 0.6, 0, 1),
            np.clip((((red + green) / 2 - blue + 1) / 2 - 0.2) / 0.6, 0, 1),
            (most - least) / np.maximum(most, 1e-3),
        ]
        wanted = [
            np.histogram(plane[mask], bins=4, range=(0, 1))[0] / mask.sum()
            for mask in (inside, ~inside)
            for plane in seen
        ]
        np.testing.assert_allclose(shares, np.concatenate(wanted), atol=2e-3)


@pytest.mark.parametrize(("along", "direction"), [("x", 0), ("y", 2)])
@pytest.mark.parametrize(("waves", "ring"), [(6, 2), (12, 3), (24, 4)])
def test_a_wave_is_strongest_in_its_own_ring_and_direction(
    along: str, direction: int, waves: int, ring: int
) -> None:
    """With 64 pixels the finest frequency is 32, of 5 octaves: one ring each."""
    line = torch.cos(2 * math.pi * waves * torch.arange(64) / 64)
    image = line.expand(64, 64) if along == "x" else line[:, None].expand(64, 64)
    options = {"rings": 5, "directions": 4}
    found = encoder("spectrum", InputSpec(1, (64, 64)), **options)(image[None, None])[0]
    assert found.shape == (20,)
    assert int(found.argmax()) == ring * 4 + direction


def test_the_spectrum_is_the_mean_logarithm_over_its_part() -> None:
    given = images(1, InputSpec(1, (16, 16)))
    found = encoder("spectrum", InputSpec(1, (16, 16)), rings=3, directions=1)(given)[0]
    grey = (given[0, 0].double().numpy() + 2) / 4
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(16) / 16))
    strength = np.abs(np.fft.fft2((grey - grey.mean()) * window[:, None] * window)) + 1e-3
    far = np.hypot(*np.meshgrid(np.fft.fftfreq(16) * 16, np.fft.fftfreq(16) * 16))
    finest = far >= 4  # the last of three octaves, 4 to 8 and beyond
    assert float(found[2]) == pytest.approx(np.log(strength[finest]).mean(), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_looked_at_alone_and_channels_that_are_no_colours_each(name: str) -> None:
    one = encoder(name)
    given = images(3)
    assert one(given).shape == (3, one.embedding_size)
    torch.testing.assert_close(one(given[1:2]), one(given)[1:2])
    pair, single = encoder(name, InputSpec(2, (32, 40))), encoder(name, GREY)
    assert pair.embedding_size == 2 * single.embedding_size
    flat = one(torch.zeros(1, 3, 32, 40))
    assert bool(torch.isfinite(flat).all())


@pytest.mark.parametrize("name", NAMES)
def test_too_small_an_image_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} needs images of at least 16×16"):
        encoder(name, InputSpec(1, (12, 40)))
