"""Features of signals without learning: by hand, and against what they are said to be."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.encoders.random_convolutions import RandomConvolutions
from medmeta.encoders.waveform import SHARES, Waveform
from medmeta.episode import InputSpec

SPEC = InputSpec(2, (200,))
CHANCE = torch.Generator().manual_seed(0)
SIGNALS = torch.randn(5, 2, 200, generator=CHANCE)


def test_a_kernel_says_its_largest_answer_and_how_often_it_answers() -> None:
    encoder = build_encoder(
        EncoderConfig(name="random_convolutions", options={"kernels": 40}), SPEC, norm="none"
    )
    assert isinstance(encoder, RandomConvolutions)
    found = encoder(SIGNALS)
    assert found.shape == (5, 80)
    kernels, biases, dilation = encoder.kernels_0, encoder.biases_0, encoder.dilations[0]
    length = kernels.shape[2]
    torch.testing.assert_close(kernels.sum(2), torch.zeros(kernels.shape[:2]), atol=1e-5, rtol=0)
    padded = F.pad(SIGNALS, [dilation * (length - 1) // 2] * 2)
    answers = [
        float((padded[0, :, t : t + dilation * length : dilation] * kernels[0]).sum() + biases[0])
        for t in range(padded.shape[2] - dilation * (length - 1))
    ]
    most = max(answers)
    wanted = math.copysign(math.log1p(abs(most)), most)
    assert math.isclose(float(found[0, 0]), wanted, rel_tol=1e-4)
    share = np.mean(np.array(answers) > 0)
    assert math.isclose(float(found[0, len(kernels)]), share, abs_tol=1e-6)


def test_the_same_seed_gives_the_same_kernels_and_signals_do_not_touch_each_other() -> None:
    config = EncoderConfig(name="random_convolutions", options={"kernels": 60})
    first, again = (build_encoder(config, SPEC, norm="none") for _ in range(2))
    torch.testing.assert_close(first(SIGNALS), again(SIGNALS))
    torch.testing.assert_close(first(SIGNALS)[2:3], first(SIGNALS[2:3]))


def test_waveform_gives_quantiles_bands_and_rhythm() -> None:
    encoder = build_encoder(EncoderConfig(name="waveform"), SPEC, norm="none")
    assert isinstance(encoder, Waveform)
    bands = len(encoder.counts)
    time = torch.arange(200.0)
    wave = torch.sin(2 * math.pi * time / 20).expand(1, 2, 200)
    found = encoder(wave)[0].unflatten(0, (2, -1))[0]
    wanted = np.quantile(wave[0, 0].numpy(), SHARES)
    np.testing.assert_allclose(found[: len(SHARES)].numpy(), wanted, atol=1e-5)
    rhythm = found[-bands:]
    strongest = int(rhythm[bands // 3 :].argmax()) + bands // 3
    assert strongest == int(encoder.places[20 - 1])  # it repeats itself after 20 samples
    strength = found[2 * len(SHARES) : 2 * len(SHARES) + bands]
    assert int(strength.argmax()) == int(encoder.places[10 - 1])  # ten times in 200 samples


def test_each_modality_goes_through_the_same_encoder_and_what_is_missing_is_zero() -> None:
    spec = InputSpec.of_parts(image=InputSpec(6, (32, 32)), present=InputSpec(2, ()))
    inner = {"name": "colours"}
    encoder = build_encoder(
        EncoderConfig(name="each_modality", options={"image": inner}), spec, norm="none"
    )
    alone = build_encoder(EncoderConfig(name="colours"), InputSpec(3, (32, 32)), norm="none")
    images = torch.rand(3, 6, 32, 32, generator=CHANCE)
    there = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    found = encoder({"image": images, "present": there}).unflatten(1, (2, -1))
    wanted = torch.stack([alone(images[:, :3]), alone(images[:, 3:])], dim=1) * there[:, :, None]
    torch.testing.assert_close(found, wanted)
