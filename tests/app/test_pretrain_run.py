"""Pre-training from the command line: the run it leaves, going on, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medmeta.app.assembling import assemble
from medmeta.app.models import load_model
from medmeta.app.pretrain_run import PretrainRequest, pretrain
from medmeta.app.run_folder import load_seen
from medmeta.data.preprocess import Preprocessing
from medmeta.data.sources import open_source
from medmeta.training.checkpoint import STATE, tensors_from_bytes
from medmeta.training.settings import TrainingSettings
from tests.app._typed import PRETRAIN, folder, medmeta, refused, state, values_manifest
from tests.training.tiny_run import end_of, newest

Copy = Callable[[Path], Path]


def words(workplace: Path, out: Path, *more: object) -> list[object]:
    return ["pretrain", "--source", workplace / "trained", *PRETRAIN, "--out", out, *more]


def card_of(run: Path) -> dict[str, Any]:
    (file,) = run.glob("model-*/card.json")
    card: dict[str, Any] = json.loads(file.read_text())
    return card


def test_the_run_is_one_of_the_head_and_says_how_it_came_about(pretrained: Path) -> None:
    card = card_of(pretrained)
    assert card["learner"] == "prototypical"
    held = [name for source in card["validated_on"] for name in source["classes"]]
    trained = [name for source in card["sources"] for name in source["classes"]]
    assert len(held) == 2
    assert len(trained) == 4
    assert set(held).isdisjoint(trained)
    told = card["pretraining"]
    assert (told["classes"], told["classifier"], told["draw"]) == (4, "linear", "images")
    assert card["training"]["augment"] == "light"
    shown = medmeta("inspect", pretrained)
    assert "to tell 4 classes apart" in shown.out


def test_the_classifier_is_in_the_checkpoint_and_not_in_the_model(pretrained: Path) -> None:
    model = load_model(pretrained)
    assert not any("classifier" in name for name in model.learner.state_dict())
    file = newest(pretrained) / STATE
    tensors = tensors_from_bytes(file.read_bytes(), where=file)
    assert tensors["learner.classifier.weight"].shape[0] == 4


def test_the_encoder_has_learned(pretrained: Path) -> None:
    model = load_model(pretrained)
    torch.manual_seed(0)
    fresh = assemble(model.card)
    after = dict(model.learner.named_parameters())
    assert all(not torch.equal(p, after[name]) for name, p in fresh.named_parameters())


def test_every_picture_seen_is_listed(pretrained: Path, workplace: Path) -> None:
    source = open_source(workplace / "trained", preprocessing=Preprocessing(size=32))
    assert set(load_seen(pretrained).tolist()) == set(source.hashes.tolist())


def test_everything_that_takes_a_run_takes_it(
    pretrained: Path, workplace: Path, tmp_path: Path, copied: Copy
) -> None:
    own = copied(pretrained)
    few = ("--shot", "1", "--query", "2", "--episodes", "6")
    assert medmeta("evaluate", own, "--source", workplace / "mine", *few).code == 0
    ended = medmeta("adapt", workplace / "mine", "--model", own, "--head", "ridge",
                    "--out", tmp_path / "p")  # fmt: skip
    assert ended.code == 0, ended
    assert medmeta("predict", tmp_path / "p", workplace / "asked",
                   "--out", tmp_path / "o.csv").code == 0  # fmt: skip
    assert medmeta("report", own, "--out", tmp_path / "r.html").code == 0


def request(**settings: Any) -> PretrainRequest:
    plain = {"steps": 12, "augment": "light", "validate_every": 4, "checkpoint_every": 3}
    return PretrainRequest(
        way="2",
        shot="1",
        query=2,
        batch_size=8,
        draw=settings.pop("draw", "images"),
        classifier=settings.pop("classifier", "linear"),
        preprocessing=Preprocessing(size=32),
        training=TrainingSettings(**{**plain, "log_every": 1, **settings}),
        options={"encoder": {"options": {"width": 4}}},
    )


@pytest.mark.parametrize(("draw", "classifier"), [("images", "linear"), ("classes", "cosine")])
def test_a_run_that_died_ends_with_the_same_bits(
    draw: str, classifier: str, workplace: Path, tmp_path: Path
) -> None:
    source = open_source(workplace / "trained", preprocessing=Preprocessing(size=32))
    asked = request(draw=draw, classifier=classifier, schedule="cosine")
    pretrain(asked, tmp_path / "whole", sources=[source])

    def die_at(step: int) -> Callable[[Any], None]:
        def report(told: Any) -> None:
            if told.step == step:
                raise RuntimeError("killed")

        return report

    for step in (5, 8):  # in the midst of what the checkpoints hold
        with pytest.raises(RuntimeError, match="killed"):
            pretrain(asked, tmp_path / "died", resume=True, sources=[source], report=die_at(step))
    assert pretrain(asked, tmp_path / "died", resume=True, sources=[source]).outcome.progress.step
    assert end_of(tmp_path / "died") == end_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--batch-size", "4"], "pretraining.batch_size was 8 and is now 4"),
        (["--classifier", "cosine"], "pretraining.classifier was linear and is now cosine"),
        (["--draw", "classes"], "pretraining.draw was images and is now classes"),
        (["--augment", "none"], "training.augment was light and is now none"),
    ],
    ids=str,
)
def test_going_on_with_other_settings(
    given: list[str], says: str, pretrained: Path, workplace: Path
) -> None:
    before = state(pretrained)
    refused(*words(workplace, pretrained, "--resume", *given), says=says)
    assert state(pretrained) == before


def test_a_meta_training_is_no_pre_training(run: Path, workplace: Path, copied: Copy) -> None:
    own = copied(run)
    refused(*words(workplace, own), says="--resume")
    refused(*words(workplace, own, "--resume"), says="other settings")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--head", "maml"], ("--head maml is not a head", "--learner maml --init RUN")),
        (["--head", "prototipical"], "Did you mean 'prototypical'"),
        (["--classifier", "round"], "classifier"),
        (["--draw", "lots"], "draw"),
        (["--batch-size", "0"], "--batch-size"),
        (["--steps", "0"], "--steps"),
        (["--way", "1"], "--way"),
        (["--shot", "x"], "--shot"),
        (["--momentum", "1"], "--momentum"),
        (["--norm", "bath"], "norm"),
        (["--device", "abacus"], "--device"),
        (["--set", "encoder.options.wide=4"], "wide"),
    ],
    ids=str,
)
def test_requests_that_cannot_be(
    given: list[str], says: str | tuple[str, ...], workplace: Path, tmp_path: Path
) -> None:
    refused(*words(workplace, tmp_path / "run", *given), says=says)
    assert state(tmp_path) == {}


def test_an_encoder_without_weights(workplace: Path, tmp_path: Path) -> None:
    given = ("--source", workplace / "trained", "--encoder", "pixels", "--out", tmp_path / "run")
    refused("pretrain", *given, says=("nothing to train", "evaluate --learner prototypical"))
    assert state(tmp_path) == {}


def test_sources_that_cannot_be(tmp_path: Path) -> None:
    given = (*PRETRAIN, "--out", tmp_path / "run")
    refused("pretrain", *given, says="--source")
    folder(tmp_path / "alone", ("only",), 8)
    refused("pretrain", "--source", tmp_path / "alone", *given, says="1 class in all")
    manifest = values_manifest(tmp_path / "ages")
    refused("pretrain", "--source", manifest, *given, says=("values", "--target values"))
    refused("pretrain", "--source", tmp_path / "gone", *given, says="no such file or folder")
    assert not (tmp_path / "run").exists()


def test_two_sources_of_one_class_each(tmp_path: Path) -> None:
    folder(tmp_path / "one", ("same name",), 4)
    folder(tmp_path / "two", ("same name",), 4, seed=2)
    sources = ("--source", tmp_path / "one", tmp_path / "two", "--validation", "none")
    ended = medmeta("pretrain", *sources, *PRETRAIN, "--out", tmp_path / "run")
    assert ended.code == 0, ended
    assert "2 classes of 2 sources apart, from 8 images" in ended.err
    assert card_of(tmp_path / "run")["pretraining"]["classes"] == 2


def test_options_from_a_file(workplace: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        f'source = "{workplace / "trained"}"\nsize = 32\nquery = 2\nway = 2\nshot = 1\n'
        'steps = 2\nclassifier = "cosine"\nbatch-size = 4\n[set.encoder.options]\nwidth = 4\n'
    )
    given = ("--config", tmp_path / "run.toml", "--out", tmp_path / "run", "--json")
    ended = medmeta("pretrain", *given)
    assert ended.code == 0, ended
    assert ended.json()["step"] == 2
    told = card_of(tmp_path / "run")["pretraining"]
    assert (told["classifier"], told["batch_size"]) == ("cosine", 4)
    (tmp_path / "run.toml").write_text("tasks-per-step = 3")
    refused("pretrain", *given[:2], "--out", tmp_path / "r", says="'medmeta pretrain'")
