"""Encoders side by side, each with its own place."""

from __future__ import annotations

import pytest
import torch

from medmeta.encoders import (
    EncoderConfig,
    Parts,
    beside_hand_made,
    build_encoder,
)
from medmeta.encoders.parts import PartsOptions
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.settings import validated

SPEC = InputSpec(3, (16, 16))
CONV = EncoderConfig(name="conv4", options={"width": 8})


def images() -> torch.Tensor:
    return torch.randn(2, *SPEC.shape, generator=torch.Generator().manual_seed(1))


def test_each_part_lies_where_its_slice_says() -> None:
    conv = build_encoder(CONV, SPEC, norm="running").eval()
    pixels = build_encoder(EncoderConfig(name="pixels"), SPEC, norm="running")
    both = Parts({"a": conv, "b": pixels}, SPEC).eval()
    assert both.slices == {"a": slice(0, 32), "b": slice(32, 32 + pixels.embedding_size)}
    found = both(images())
    assert found.shape == (2, both.embedding_size)
    torch.testing.assert_close(found[:, both.slices["a"]], conv.pooled_stages(images()))
    torch.testing.assert_close(found[:, both.slices["b"]], pixels(images()))


def test_what_is_learned_gives_the_means_of_all_its_stages() -> None:
    conv = build_encoder(CONV, SPEC, norm="running").eval()
    stages = [stage.mean((2, 3)) for stage in conv.stages(images())]
    torch.testing.assert_close(Parts({"a": conv}, SPEC).eval()(images()), torch.cat(stages, 1))


def test_finding_the_sizes_leaves_the_encoder_as_it_was() -> None:
    conv = build_encoder(CONV, SPEC, norm="running").train()
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    Parts({"a": conv}, SPEC)
    assert all(module.training for module in conv.modules())
    assert all(torch.equal(before[name], value) for name, value in conv.state_dict().items())


@pytest.mark.parametrize(
    ("name", "spec", "parts"),
    [
        ("conv4", SPEC, ["learned", "shape", "grain", "spectrum", "colours"]),
        ("hog_colour", SPEC, ["hand_made"]),
        ("conv4", InputSpec(2, (64,)), ["learned"]),
        ("conv4", InputSpec(1, (16, 16, 16)), ["learned"]),
        ("tabular", InputSpec(5, ()), ["learned"]),
    ],
)
def test_hand_made_features_stand_beside_an_encoder_of_images(
    name: str, spec: InputSpec, parts: list[str]
) -> None:
    encoder = build_encoder(EncoderConfig(name=name), spec, norm="running")
    both = beside_hand_made(encoder, spec)
    assert list(both.parts) == parts
    assert beside_hand_made(both, spec) is both
    blank = spec.blank(2)
    assert both.eval()(blank).shape == (2, both.embedding_size)


def test_parts_are_built_by_their_names() -> None:
    options = {"parts": {"learned": CONV.model_dump(), "looks": {"name": "pixels"}}}
    built = build_encoder(EncoderConfig(name="parts", options=options), SPEC, norm="running")
    assert isinstance(built, Parts)
    assert list(built.sizes) == ["learned", "looks"]


def test_no_parts_and_strange_names_are_refused() -> None:
    with pytest.raises(SettingsError, match="parts"):
        validated(PartsOptions, {"parts": {}}, where="encoder parts")
    strange = EncoderConfig(name="parts", options={"parts": {"a/b": {"name": "pixels"}}})
    with pytest.raises(SettingsError, match="no name for a part"):
        build_encoder(strange, SPEC, norm="running")
