"""Encoders that a user brings, by name and as files: trained, adapted, saved and asked again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import medmeta as package
from medmeta.app.assembling import encoder_of
from medmeta.app.models import load_model
from medmeta.encoders import EncoderConfig, ExternalEncoder, build_encoder
from medmeta.episode import InputSpec
from tests.app._typed import PRETRAIN, SMALL, medmeta, refused, state

NAME = "external:network_of_ours:architecture"
CODE = """
import torch
from torch import nn

def architecture():
    torch.manual_seed(5)
    layers = nn.Conv2d(3, 6, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(24, 7))

def too_many():
    return nn.Sequential(nn.Flatten(1, 2), nn.Linear(32, 7))
"""
UNITS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "frozen": True}
ALLOW = "--allow-external"


def without_width(words: tuple[str, ...]) -> tuple[str, ...]:
    assert words[:2] == ("--set", "encoder.options.width=8")
    return words[2:]


@pytest.fixture(autouse=True)
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "network_of_ours.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, "network_of_ours", raising=False)


@pytest.fixture
def network() -> nn.Module:
    """Other weights than its factory gives."""
    from network_of_ours import architecture  # type: ignore[import-not-found]

    made: nn.Module = architecture()
    with torch.no_grad():
        for weights in made.parameters():
            weights.add_(0.25)
    return made


@pytest.fixture
def file(tmp_path: Path, network: nn.Module) -> Path:
    place = tmp_path / "ours.safetensors"
    package.save_encoder(place, network, NAME, options=UNITS, source="made up", licence="CC0")
    return place


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    encoder = encoder_of(load_model(run, allow_external=True).learner)
    assert isinstance(encoder, ExternalEncoder)
    return encoder.module.state_dict()


def card_of(run: Path) -> dict[str, Any]:
    (place,) = run.glob("model-*/card.json")
    card: dict[str, Any] = json.loads(place.read_text())
    return card


def test_a_network_by_name_is_trained_adapted_and_asked_again(
    workplace: Path, tmp_path: Path
) -> None:
    words = ("train", "--source", workplace / "trained", "--encoder", NAME, ALLOW)
    run, predictor, answers = tmp_path / "run", tmp_path / "predictor", tmp_path / "answers.csv"
    assert medmeta(*words, *without_width(SMALL), "--steps", "2", "--out", run).code == 0
    adapt = ("adapt", workplace / "mine", "--model", run, "--no-estimate", "--out", predictor)
    refused(*adapt, says=("card.json", "only with --allow-external"))
    assert medmeta(*adapt, "--head", "ridge", ALLOW).code == 0
    ask = ("predict", predictor, workplace / "asked", "--out", answers)
    refused(*ask, says=("card.json", "only with --allow-external"))
    assert medmeta(*ask, ALLOW).code == 0
    assert answers.read_text().count("\n") == 7


def test_a_network_by_name_is_pre_trained(workplace: Path, tmp_path: Path) -> None:
    words = ("pretrain", "--source", workplace / "trained", "--encoder", NAME, ALLOW)
    ended = medmeta(*words, *without_width(PRETRAIN), "--steps", "2", "--out", tmp_path / "run")
    assert ended.code == 0, ended
    started = ("train", "--source", workplace / "trained", "--encoder", NAME, ALLOW, "--init")
    more = (*without_width(SMALL), "--steps", "2", "--learning-rate", "1e-12")
    assert medmeta(*started, tmp_path / "run", *more, "--out", tmp_path / "next").code == 0
    before, after = weights_of(tmp_path / "run"), weights_of(tmp_path / "next")
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-6)


def test_a_file_of_weights_is_trained_with(
    file: Path, network: nn.Module, workplace: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("train", "--source", workplace / "trained", "--learner", "ridge", "--encoder", file)
    more = (*without_width(SMALL), "--steps", "2", "--out", run)
    assert medmeta(*words, ALLOW, *more).code == 0
    file.unlink()  # all that it held is in the run
    for name, tensor in weights_of(run).items():
        assert torch.equal(tensor, network.state_dict()[name])  # frozen, its card says
    told = card_of(run)["encoder_file"]
    assert (told["source"], told["licence"]) == ("made up", "CC0")
    assert str(tmp_path) not in json.dumps(card_of(run))


def test_a_file_is_measured_without_training(file: Path, workplace: Path) -> None:
    words = ("evaluate", "--learner", "ridge", "--encoder", file, ALLOW, "--size", "32")
    more = ("--source", workplace / "mine", "--shot", "1", "--query", "2", "--episodes", "5")
    ended = medmeta(*words, *more, "--json")
    assert ended.code == 0, ended


def test_a_network_trained_elsewhere_becomes_a_model(
    file: Path, network: nn.Module, workplace: Path, tmp_path: Path
) -> None:
    words = ("models", "bring", file, "--learner", "simple_shot", "--size", "32")
    model = tmp_path / "model"
    refused(*words, "--out", model, says="only with --allow-external")
    assert medmeta(*words, ALLOW, "--out", model).code == 0
    for name, tensor in weights_of(model).items():
        assert torch.equal(tensor, network.state_dict()[name])
    refused("models", "describe", model, says="only with --allow-external")
    told = medmeta("models", "describe", model, ALLOW, "--json").json()
    assert told["options"]["encoder"]["options"] == UNITS
    assert told["sources"] == []
    adapt = ("adapt", workplace / "mine", "--model", model, "--out", tmp_path / "predictor")
    ended = medmeta(*adapt, ALLOW)
    assert ended.code == 0, ended


def test_one_of_our_networks_from_a_file(workplace: Path, tmp_path: Path) -> None:
    options = {"width": 8}
    config = EncoderConfig(name="conv4", options=options)
    network = build_encoder(config, InputSpec(3, (32, 32)), norm="group")
    file = tmp_path / "conv4.safetensors"
    package.save_encoder(file, network, "conv4", options=options, norm="group")
    words = ("models", "bring", file, "--size", "32", "--out", tmp_path / "model")
    assert medmeta(*words).code == 0
    found = encoder_of(load_model(tmp_path / "model").learner).state_dict()
    assert found.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(found[name], tensor)


def test_a_frozen_network_under_a_learner_that_learns_nothing(
    file: Path, workplace: Path, tmp_path: Path
) -> None:
    words = ("train", "--source", workplace / "trained", "--encoder", file, ALLOW)
    more = (*without_width(SMALL), "--out", tmp_path / "run")
    refused(*words, *more, says="'medmeta models bring'")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoder": None}, "encoder: input should be a valid string"),
        ({"format": "medmeta-encoder/9"}, "'medmeta-encoder/9', expected 'medmeta-encoder/1'"),
        ({"sha256": "0" * 64}, "its SHA-256 differs"),
        ({"sha256": "short"}, "sha256: string should match"),
        ({"encoder": "external:network_of_ours:too_many"}, "Of tokens"),
        ({"encoder": "external:no_such_module:f"}, "No module named"),
        ({"encoder": "resnet10", "options": {}}, "holds the weights of another learner"),
        ({"options": {"mean": [0.5], "std": [0.5]}}, "each of the 3 channels"),
        ({"options": {"widht": 3}}, "no option widht"),
    ],
)
def test_cards_that_are_wrong_are_refused(
    change: dict[str, Any], says: str, file: Path, tmp_path: Path
) -> None:
    place = file.with_suffix(".json")
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    before = state(tmp_path)
    words = ("models", "bring", file, "--size", "32", ALLOW, "--out", tmp_path / "model")
    ended = medmeta(*words)
    assert ended.code == 2, ended
    assert says in ended.err
    assert {k: v for k, v in state(tmp_path).items() if "__pycache__" not in str(k)} == {
        k: v for k, v in before.items() if "__pycache__" not in str(k)
    }


def test_files_that_are_missing_are_named(file: Path, tmp_path: Path) -> None:
    words = ("models", "bring", file, ALLOW, "--out", tmp_path / "model")
    file.with_suffix(".json").unlink()
    refused(*words, says="ours.json, which says what network")
    file.unlink()
    refused(*words, says="there is no such file")


def test_an_altered_file_is_refused(file: Path, tmp_path: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    words = ("models", "bring", file, "--size", "32", ALLOW, "--out", tmp_path / "model")
    refused(*words, says=("ours.safetensors", "damaged or altered"))


def test_a_file_that_is_there_is_not_overwritten(file: Path, network: nn.Module) -> None:
    before = file.read_bytes()
    with pytest.raises(package.MedmetaError, match="already there"):
        package.save_encoder(file, network, NAME)
    with pytest.raises(package.MedmetaError, match=r"ends in \.safetensors"):
        package.save_encoder(file.with_suffix(".bin"), network, NAME)
    assert file.read_bytes() == before


def test_two_beginnings_contradict_each_other(
    file: Path, pretrained: Path, workplace: Path, tmp_path: Path
) -> None:
    words = ("train", "--source", workplace / "trained", "--learner", "ridge", "--encoder", file)
    more = (*without_width(SMALL), ALLOW, "--init", pretrained, "--out", tmp_path / "run")
    refused(*words, *more, says="--init and --encoder FILE both")


def test_a_toml_file_names_weights_beside_itself(
    file: Path, workplace: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text(f'encoder = "{file.name}"\nlearner = "ridge"\n')
    words = ("train", "--config", tmp_path / "run.toml", "--source", workplace / "trained", ALLOW)
    ended = medmeta(*words, *without_width(SMALL), "--steps", "2", "--out", tmp_path / "run")
    assert ended.code == 0, ended
