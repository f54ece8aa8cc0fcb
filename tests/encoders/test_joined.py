"""Several encoders side by side: what each gives, of one length, and how they are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.encoders.joined import JoinedOptions
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError, UnknownNameError
from medmeta.settings import options_from_texts

SPEC = InputSpec(1, (16, 16))
PARTS = ({"name": "pixels", "options": {"side": 4}}, {"name": "border", "options": {"width": 1}})


def joined(parts: Any = PARTS, **options: Any) -> AbstractEncoder:
    config = EncoderConfig(name="joined", options={"parts": parts, **options})
    return build_encoder(config, SPEC, norm="group").eval()


def part(config: dict[str, Any]) -> AbstractEncoder:
    return build_encoder(EncoderConfig(**config), SPEC, norm="group")


def images(n: int = 3) -> Tensor:
    return torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_as_they_are() -> None:
    encoder = joined(standardise="none")
    assert encoder.embedding_size == 16 + 60
    wanted = torch.cat([part(config)(images()) for config in PARTS], dim=1)
    assert torch.equal(encoder(images()), wanted)


def test_of_one_length() -> None:
    found = joined()(images())
    assert found.shape == (3, 76)
    for place, config in ((slice(0, 16), PARTS[0]), (slice(16, 76), PARTS[1])):
        torch.testing.assert_close(found[:, place].square().sum(1), torch.full((3,), 76 / 2))
        alone = part(config)(images())
        turned = torch.nn.functional.cosine_similarity(found[:, place], alone)
        torch.testing.assert_close(turned, torch.ones(3))
    torch.testing.assert_close(found.square().mean(1), torch.ones(3))


def test_each_number_of_a_part_about_its_mean() -> None:
    found = joined(standardise="image")(images() + 3)[:, :16]
    alone = part(PARTS[0])(images())
    wanted = (alone - alone.mean(1, keepdim=True)) / alone.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(found, wanted * (76 / 2 / 16) ** 0.5, rtol=1e-4, atol=1e-5)


def test_a_part_that_says_nothing_is_zero_and_finite() -> None:
    black = torch.zeros(2, 1, 16, 16)
    assert torch.equal(joined()(black), torch.zeros(2, 76))
    assert torch.equal(joined(standardise="image")(black + 2), torch.zeros(2, 76))


def test_stages_and_pooled_stages() -> None:
    encoder = joined(parts={"conv4": {"width": 2}, "pixels": {}})
    assert [tuple(stage.shape) for stage in encoder.stages(images())] == [(3, 258, 1)]
    pooled = encoder.pooled_stages(images())
    assert pooled.shape == (3, 4 * 2 + 1)
    torch.testing.assert_close(pooled[:, -1], images().mean((1, 2, 3)))


@pytest.mark.parametrize(
    "texts",
    [
        ["parts=conv4, pixels"],
        ["parts.conv4=", "parts.pixels="],
    ],
)
def test_parts_are_named_on_the_command_line(texts: list[str]) -> None:
    options = JoinedOptions.model_validate(options_from_texts(texts))
    assert options.parts == (EncoderConfig(name="conv4"), EncoderConfig(name="pixels"))


def test_parts_have_options_on_the_command_line() -> None:
    texts = ["parts.conv4.width=8", "parts.hog_colour.cells=2"]
    options = JoinedOptions.model_validate(options_from_texts(texts))
    assert [p.name for p in options.parts] == ["conv4", "hog_colour"]
    assert joined(**options_from_texts(texts)).embedding_size == 8 + 4 * 9 + 16


def test_options_survive_json() -> None:
    options = JoinedOptions(parts=PARTS)  # type: ignore[arg-type]
    assert JoinedOptions.model_validate_json(options.model_dump_json()) == options


def test_parts_normalise_as_the_whole_unless_told() -> None:
    encoder = joined(parts=["conv4", {"name": "conv4", "norm": "none"}])
    kinds = [{type(m).__name__ for m in part.modules()} for part in encoder.parts]  # type: ignore[union-attr]
    assert ["GroupNorm" in kind for kind in kinds] == [True, False]


@pytest.mark.parametrize(
    ("parts", "error", "complaint"),
    [
        ("pixels", SettingsError, "encoder joined: parts"),
        (7, SettingsError, "encoder joined: parts"),
        ("pixels,bordr", UnknownNameError, "Did you mean 'border'"),
        ({"pixels": {"sise": 3}, "border": {}}, SettingsError, "did you mean side"),
        ({"pixels": 3, "border": {}}, SettingsError, "parts.0.options"),
    ],
)
def test_parts_that_cannot_be_are_refused(
    parts: Any, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        joined(parts)


def test_code_from_outside_is_joined_with_permission_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "joined_network.py").write_text("from torch.nn import Flatten as flat\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config = EncoderConfig(name="joined", options={"parts": "pixels,external:joined_network:flat"})
    with pytest.raises(SettingsError, match="only with --allow-external"):
        build_encoder(config, SPEC, norm="none")
    assert build_encoder(config, SPEC, norm="none", allow_external=True).embedding_size == 512
