"""An image with its modalities and its patient's record."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medmeta.encoders import EncoderConfig, build_encoder, resolved
from medmeta.encoders._present import Present, forgotten_some
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError

SPEC = InputSpec.of_parts(
    image=InputSpec(3, (16, 16)), present=InputSpec(3, ()), record=InputSpec(2, ())
)


def _encoder(spec: InputSpec = SPEC, **options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    narrow = {"image": {"options": {"width": 4}}, "record": {"options": {"width": 4}}, "width": 8}
    return build_encoder(EncoderConfig(options={**narrow, **options}), spec, norm="group")


def _inputs(n: int = 4) -> dict[str, torch.Tensor]:
    return {
        "image": torch.randn(n, 3, 16, 16),
        "present": torch.tensor([[1.0, 1.0, 0.0]]).repeat(n, 1),
        "record": torch.randn(n, 2),
    }


def test_what_lies_in_a_missing_modality_does_not_matter() -> None:
    encoder, inputs = _encoder().eval(), _inputs()
    other = {**inputs, "image": inputs["image"].clone()}
    other["image"][:, 2] = 99.0
    torch.testing.assert_close(encoder(inputs), encoder(other))
    other["image"][:, 1] = 99.0
    assert not torch.allclose(encoder(inputs), encoder(other))


def test_the_network_is_told_which_are_there() -> None:
    images, there = torch.ones(1, 4, 2, 2), torch.tensor([[1.0, 0.0]])
    found = Present(2)(images, there)
    # Two channels of the first modality, doubled for half is missing; then the two planes.
    assert found[0, :, 0, 0].tolist() == [2.0, 2.0, 0.0, 0.0, 1.0, 0.0]


def test_modalities_are_hidden_while_training_only_and_never_all() -> None:
    encoder, inputs = _encoder(drop=0.9), _inputs()
    with torch.no_grad():
        first, second = encoder.train()(inputs), encoder(inputs)
        assert not torch.equal(first, second)
        torch.testing.assert_close(encoder.eval()(inputs), encoder(inputs))
    there = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).repeat(200, 1)
    kept = forgotten_some(there, 0.8)
    assert (kept <= there).all()
    assert (kept.sum(1) >= 1).tolist() == (there.sum(1) >= 1).tolist()
    assert float(kept[::3].mean(1).mul(3).eq(1).float().mean()) > 0.55  # mostly one of the two


@pytest.mark.parametrize("fusion", ["late", "gated"])
def test_both_have_their_say(fusion: str) -> None:
    spec = InputSpec.of_parts(image=InputSpec(1, (16, 16)), record=InputSpec(2, ()))
    encoder = _encoder(spec, fusion=fusion).eval()
    inputs = {"image": torch.randn(4, 1, 16, 16), "record": torch.randn(4, 2)}
    with torch.no_grad():
        whole = encoder(inputs)
        for name in inputs:
            other = encoder({**inputs, name: inputs[name].flip(0)})
            assert not torch.allclose(whole, other)


def test_an_encoder_of_images_named_for_a_mapping_is_that_of_its_image() -> None:
    found = resolved(EncoderConfig(name="resnet12"), SPEC)
    assert found.name == "fusion"
    assert found.options["image"]["name"] == "resnet12"
    assert resolved(found, SPEC) == found


def test_other_parts_are_refused() -> None:
    spec = InputSpec.of_parts(image=InputSpec(1, (16, 16)), sound=InputSpec(1, (64,)))
    with pytest.raises(SettingsError, match="takes image, present and record, not image, sound"):
        build_encoder(EncoderConfig(), spec, norm="group")
