"""Starting from another run's encoder: what is taken, what does not fit, what is remembered."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medmeta.app.models import load_model
from medmeta.app.run_folder import load_seen
from medmeta.app.train_run import TrainRequest, train
from medmeta.data.preprocess import Preprocessing
from medmeta.data.sources import open_source
from medmeta.training.settings import TrainingSettings
from tests.app._typed import SMALL, folder, medmeta, refused, state
from tests.training.tiny_run import end_of

Copy = Callable[[Path], Path]
RATE = ("--learning-rate", "1e-12")  # so that the weights are still seen afterwards


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another source than the encoder learned from."""
    return folder(tmp_path / "other", ("p", "q", "r", "s", "t", "u"), 6, seed=21)


def words(init: Path, source: Path, out: Path, *more: object) -> list[object]:
    return ["train", "--init", init, "--source", source, *SMALL, "--steps", "2", "--out", out,
            *more]  # fmt: skip


def encoder_of(run: Path) -> dict[str, torch.Tensor]:
    state = load_model(run).learner.state_dict()
    found = {}
    for name, tensor in state.items():
        if ".blocks." in name and not name.endswith(("running_mean", "running_var", "tracked")):
            found["blocks." + name.partition(".blocks.")[2]] = tensor
        elif name.startswith("network.0."):
            found[name.removeprefix("network.0.")] = tensor
    return found


def card_of(run: Path) -> dict[str, Any]:
    (file,) = run.glob("model-*/card.json")
    card: dict[str, Any] = json.loads(file.read_text())
    return card


@pytest.mark.parametrize("learner", ["prototypical", "ridge", "relation", "matching"])
def test_learners_start_from_the_pre_trained_encoder(
    learner: str, pretrained: Path, other: Path, tmp_path: Path
) -> None:
    given = words(pretrained, other, tmp_path / "run", "--learner", learner, *RATE)
    ended = medmeta(*given)
    assert ended.code == 0, ended
    before, after = encoder_of(pretrained), encoder_of(tmp_path / "run")
    assert set() != before.keys() <= after.keys()  # a relation module has blocks of its own
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("learner", ["maml", "reptile", "anil"])
def test_gradient_learners_start_from_an_encoder_that_normalises_by_groups(
    learner: str, maml_run: Path, other: Path, tmp_path: Path
) -> None:
    short = ("--set", "inner_steps=1", "--validation", "none")
    given = words(maml_run, other, tmp_path / "run", "--learner", learner, *RATE, *short)
    ended = medmeta(*given)
    assert ended.code == 0, ended
    before, after = encoder_of(maml_run), encoder_of(tmp_path / "run")
    assert before.keys() == after.keys() != set()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-6)


def test_the_card_remembers_where_it_started(pretrained: Path, other: Path, tmp_path: Path) -> None:
    assert medmeta(*words(pretrained, other, tmp_path / "run")).code == 0
    (file,) = pretrained.glob("model-*/card.json")
    init = card_of(tmp_path / "run")["init"]
    assert init["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert init["card"]["pretraining"]["classes"] == 4
    assert init["sha256"] in medmeta("inspect", tmp_path / "run").out
    model = load_model(tmp_path / "run")
    learned = {name for source in init["card"]["sources"] for name in source["classes"]}
    assert learned < model.trained_classes()
    assert set(load_seen(pretrained).tolist()) < set(load_seen(tmp_path / "run").tolist())


def test_what_it_started_from_has_been_seen(
    pretrained: Path, other: Path, workplace: Path, tmp_path: Path
) -> None:
    assert medmeta(*words(pretrained, other, tmp_path / "run")).code == 0
    given = ("evaluate", tmp_path / "run", "--source", workplace / "trained", "--query", "2")
    refused(*given, says="trained on every picture")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--set", "encoder.options.width=4"], ("blocks.0.0.weight is 8×3×3×3 there and 4×3×3×3",
                                                 "--set encoder.options.width=8")),
        (["--channels", "1"], ("8×3×3×3 there and 8×1×3×3 here", "--channels 3")),
        (["--norm", "group"], ("it normalises by running and this run by group", "--norm running")),
        (["--norm", "batch"], "it normalises by running and this run by batch"),
        (["--encoder", "resnet12"], "missing here"),
        (["--learner", "maml"], "it normalises by running and this run by group"),
    ],
    ids=str,
)  # fmt: skip
def test_encoders_that_do_not_fit(
    given: list[str], says: str | tuple[str, ...], pretrained: Path, other: Path, tmp_path: Path
) -> None:
    asked = words(pretrained, other, tmp_path / "run", *given)
    if "resnet12" in given:  # which has no width
        at = asked.index("encoder.options.width=8")
        asked[at - 1 : at + 1] = []
    refused(*asked, says=says)
    assert not (tmp_path / "run").exists()


def test_runs_that_are_none(pretrained: Path, other: Path, tmp_path: Path, copied: Copy) -> None:
    refused(*words(tmp_path / "gone", other, tmp_path / "run"), says="gone")
    refused(*words(other, other, tmp_path / "run"), says="holds no trained model")
    spoilt = copied(pretrained)
    (file,) = spoilt.glob("model-*/weights.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    refused(*words(spoilt, other, tmp_path / "run"), says="SHA-256")
    assert not (tmp_path / "run").exists()


def test_what_is_not_the_same_is_said(pretrained: Path, other: Path, tmp_path: Path) -> None:
    ended = medmeta(*words(pretrained, other, tmp_path / "run", "--size", "48"))
    assert ended.code == 0, ended
    assert "saw its images otherwise prepared" in ended.err
    assert "--size 32" in ended.err


def test_classes_that_leak_into_validation_are_said(
    pretrained: Path, workplace: Path, tmp_path: Path
) -> None:
    source = workplace / "trained"
    other_seed = next(s for s in range(1, 20) if _held(source, s) != _held(source, 0))
    ended = medmeta(*words(pretrained, source, tmp_path / "a", "--seed", other_seed))
    assert ended.code == 0, ended
    assert "was trained on classes that are held out here" in ended.err
    ended = medmeta(*words(pretrained, source, tmp_path / "b"))
    assert ended.code == 0, ended
    assert "was trained on classes" not in ended.err


def test_pictures_that_leak_into_validation_are_said(
    pretrained: Path, workplace: Path, tmp_path: Path
) -> None:
    """The same pictures under another source's name, and held out as images."""
    again = shutil.copytree(workplace / "trained", tmp_path / "again")
    seed = next(s for s in range(1, 20) if _held(again, s) != _held(again, 0))
    for more in (("--seed", seed), ("--validation", "images", "--query", "1")):
        ended = medmeta(*words(pretrained, again, tmp_path / f"run {more[1]}", *more))
        assert ended.code == 0, ended
        assert "pictures that are held out here were seen by the run of --init" in " ".join(
            ended.err.split()
        )


def _held(source: Path, seed: int) -> tuple[str, ...]:
    from medmeta.data.splits import split_classes

    names = [path.name for path in source.iterdir()]
    return split_classes(names, count=2, seed=seed)[1]


def request(init: Path | None, steps: int) -> TrainRequest:
    return TrainRequest(
        way="2",
        shot="1",
        query=2,
        preprocessing=Preprocessing(size=32),
        training=TrainingSettings(steps=steps, log_every=1, validate_every=4, checkpoint_every=3),
        options={"encoder": {"options": {"width": 8}}},
        init=init,
    )


@pytest.mark.parametrize("named", [True, False])
def test_a_run_goes_on_when_the_other_is_gone(
    named: bool, pretrained: Path, other: Path, tmp_path: Path, copied: Copy
) -> None:
    source = open_source(other, preprocessing=Preprocessing(size=32))
    first = copied(pretrained)
    train(request(first, 8), tmp_path / "whole", sources=[source])
    train(request(first, 4), tmp_path / "parts", sources=[source])
    shutil.rmtree(first)
    again = request(first if named else None, 8)
    train(again, tmp_path / "parts", sources=[source], resume=True)
    assert end_of(tmp_path / "parts") == end_of(tmp_path / "whole")
    assert (load_seen(tmp_path / "parts") == load_seen(tmp_path / "whole")).all()


def test_going_on_from_another_start_is_refused(
    pretrained: Path, run: Path, other: Path, tmp_path: Path
) -> None:
    assert medmeta(*words(pretrained, other, tmp_path / "started")).code == 0
    plain = words(pretrained, other, tmp_path / "plain")
    assert medmeta("train", *plain[3:]).code == 0
    before = state(tmp_path)
    for place, init in (("started", run), ("plain", pretrained)):
        given = words(init, other, tmp_path / place, "--resume")
        refused(*given, says="the model that its encoder started from (--init)")
    assert state(tmp_path) == before


def test_a_file_names_it_beside_itself(pretrained: Path, other: Path, tmp_path: Path) -> None:
    shutil.copytree(pretrained, tmp_path / "first")
    (tmp_path / "run.toml").write_text('init = "first"\n')
    given = words(pretrained, other, tmp_path / "run")
    ended = medmeta("train", "--config", tmp_path / "run.toml", *given[3:])
    assert ended.code == 0, ended
    assert card_of(tmp_path / "run")["init"]["card"]["pretraining"]["classes"] == 4
