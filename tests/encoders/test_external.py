"""Networks that a user brings, as a module and by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medmeta.encoders import EncoderConfig, ExternalEncoder, build_encoder
from medmeta.encoders.external import ExternalOptions
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError

IMAGE = InputSpec(3, (16, 16))
IMAGE_LINES = InputSpec(1, (2, 16))
CODE = """
import torch
from torch import nn

def vector():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 5))

def not_a_module():
    return "a text"

def breaks():
    raise RuntimeError("weights are missing")

def leaves():
    raise SystemExit(7)
"""


def line() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 2))


class Gives(nn.Module):
    """Gives something of a fixed shape."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: torch.Tensor) -> object:
        return self.output


def test_a_vector_is_taken_as_it_is() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 5))
    encoder = ExternalEncoder(module, IMAGE)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert encoder.embedding_size == 5
    torch.testing.assert_close(encoder(images), module(images))
    torch.testing.assert_close(encoder.pooled_stages(images), module(images))


def test_a_feature_map_is_averaged_over_space() -> None:
    module = nn.Conv2d(3, 7, 3)
    encoder = ExternalEncoder(module, IMAGE)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert encoder.embedding_size == 7
    torch.testing.assert_close(encoder(images), module(images).mean((2, 3)))


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (torch.zeros(2), r"gives \(2,\)"),
        (torch.zeros(1, 5), r"gives \(1, 5\)"),
        ([torch.zeros(2, 5)], "gives list"),
    ],
)
def test_other_outputs_are_refused(output: object, found: str) -> None:
    with pytest.raises(SettingsError, match=found + r" for inputs of shape \(2, 3, 16, 16\)"):
        ExternalEncoder(Gives(output), IMAGE)


def test_a_network_of_other_images_is_refused_in_plain_words() -> None:
    with pytest.raises(SettingsError, match=r"fails \(.*for inputs of shape \(2, 3, 16, 16\)"):
        ExternalEncoder(nn.Conv2d(1, 4, 3), IMAGE)


@pytest.mark.parametrize("module", [nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)])
def test_trying_a_network_leaves_its_modes_and_statistics(module: nn.Module) -> None:
    statistics, frozen = nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval()
    own = nn.Sequential(module, statistics, frozen).train()
    frozen.eval()
    fits = isinstance(module, nn.Conv2d) and module.in_channels == 3
    if fits:
        ExternalEncoder(own, IMAGE)
    else:
        with pytest.raises(SettingsError):
            ExternalEncoder(own, IMAGE)
    assert own.training
    assert statistics.training
    assert not frozen.training
    assert int(statistics.num_batches_tracked or 0) == 0


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "networks_of_mine.py").write_text(CODE, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "external:networks_of_mine"


def test_code_from_outside_is_imported_only_with_permission(plugin: str) -> None:
    config = EncoderConfig(name=f"{plugin}:vector")
    with pytest.raises(SettingsError, match="only with --allow-external"):
        build_encoder(config, IMAGE, norm="group")
    encoder = build_encoder(config, IMAGE, norm="group", allow_external=True)
    assert encoder.embedding_size == 5


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [
        (":no_such", "cannot be made .*no_such"),
        ("", "write it as external:package.module:factory"),
        (":not_a_module", "gave str, not a torch module"),
        (":breaks", "weights are missing"),
        (".no_such:f", "No module named"),
        (":leaves", "cannot be made .7."),
    ],
)
def test_what_cannot_be_made_is_named(plugin: str, factory: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        build_encoder(
            EncoderConfig(name=plugin + factory), IMAGE, norm="group", allow_external=True
        )


def test_options_for_code_from_outside_are_not_swallowed(plugin: str) -> None:
    config = EncoderConfig(name=f"{plugin}:vector", options={"width": 8})
    with pytest.raises(SettingsError, match="no option width; options: frozen, mean, size, std"):
        build_encoder(config, IMAGE, norm="group", allow_external=True)


def test_images_come_in_the_network_s_own_units() -> None:
    options = ExternalOptions(mean=(0.5, 0.25, 0.0), std=(0.25, 0.5, 1.0))
    encoder = ExternalEncoder(nn.Flatten(), InputSpec(3, (1, 1)), options)
    white_to_black = torch.tensor([[2.0, 2.0, -2.0]])[..., None, None]
    torch.testing.assert_close(encoder(white_to_black), torch.tensor([[2.0, 1.5, 0.0]]))


def test_images_come_in_the_network_s_own_size() -> None:
    encoder = ExternalEncoder(nn.Flatten(), IMAGE, ExternalOptions(size=4))
    assert encoder.embedding_size == 3 * 4 * 4
    torch.testing.assert_close(encoder(torch.ones(2, 3, 16, 16)), torch.ones(2, 48))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mean": (0.5,), "std": (0.5,)}, "each of the 3 channels, and these have 1 and 1"),
        ({"mean": (0.5, 0.5, 0.5)}, "have 3 and 0"),
        ({"mean": (0, 0, 0), "std": (1, 0, 1)}, "std is above 0"),
    ],
)
def test_units_that_are_none_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        ExternalEncoder(nn.Flatten(), IMAGE, ExternalOptions(**options))


def test_a_frozen_network_is_never_trained() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(768, 5))
    encoder = ExternalEncoder(module, IMAGE, ExternalOptions(frozen=True)).train()
    assert encoder.training
    assert not any(part.training for part in module.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert all(p.requires_grad for p in ExternalEncoder(line(), IMAGE_LINES).parameters())


def test_tokens_are_not_taken_for_a_feature_map() -> None:
    with pytest.raises(SettingsError, match=r"gives \(2, 17, 8\).*Of tokens"):
        ExternalEncoder(Gives(torch.zeros(2, 17, 8)), IMAGE)
    signal = InputSpec(3, (16,))
    assert ExternalEncoder(Gives(torch.zeros(2, 17, 8)), signal).embedding_size == 17


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(number: float) -> None:
    with pytest.raises(SettingsError, match=r"gives numbers of type torch\.float32 that are none"):
        ExternalEncoder(Gives(torch.full((2, 5), number)), IMAGE)


def test_a_module_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_here.py").write_text(CODE, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    config = EncoderConfig(name="external:network_here:vector")
    assert build_encoder(config, IMAGE, norm="group", allow_external=True).embedding_size == 5
