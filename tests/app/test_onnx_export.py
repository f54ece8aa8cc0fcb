"""``medmeta models export``: graphs that ONNX Runtime runs as torch does, on tasks of any size."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medmeta.app.assembling import input_spec_from, with_head
from medmeta.app.models import load_model
from medmeta.app.onnx_export import exportable
from medmeta.app.onnx_graphs import example_episode
from medmeta.app.predictor import as_inputs
from medmeta.app.workbench import load_predictor
from medmeta.data.sources import open_source
from medmeta.episode import LabelledSet, Target, any_tensor
from medmeta.learners import LEARNERS
from tests.app._typed import medmeta, refused, state
from tests.conftest import ROOT

ort = pytest.importorskip("onnxruntime", reason="the extra onnx")
pytest.importorskip("onnxscript", reason="the extra onnx")


@pytest.fixture(scope="session")
def exported(workplace: Path, run: Path) -> Path:
    """The prototypical network as a graph."""
    ended = medmeta("models", "export", run, "--onnx", workplace / "run.onnx")
    assert ended.code == 0, ended
    return workplace / "run.onnx"


def answers(file: Path, given: Mapping[str, Tensor]) -> list[Tensor]:
    session = ort.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    inputs = {name: tensor.numpy() for name, tensor in given.items()}
    return [torch.from_numpy(found) for found in session.run(None, inputs)]


def by_torch(run: Path, head: str | None, episode: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    model = load_model(run)
    support, labels, query = episode
    target = Target("classes", labels.shape[1])
    learner = model.learner
    if head is not None:
        learner = with_head(learner, head, {}, input_spec_from(model.card), target).eval()
    known = LabelledSet(support[None], labels.argmax(1)[None], torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        return learner.adapt(known, target)(query[None])[0]


@pytest.mark.parametrize(("way", "shot", "query"), [(7, 3, 5), (2, 1, 1)])
def test_a_graph_takes_other_ways_than_it_was_made_with(
    way: int, shot: int, query: int, exported: Path, run: Path
) -> None:
    spec = input_spec_from(load_model(run).card)
    episode = example_episode(spec, n_way=way, n_shot=shot, n_query=query)
    (found,) = answers(exported, dict(zip(("support", "labels", "query"), episode, strict=True)))
    assert found.shape == (query, way)
    torch.testing.assert_close(found, by_torch(run, None, episode), rtol=1e-4, atol=1e-4)


def test_classes_of_different_sizes_and_in_any_order(exported: Path, run: Path) -> None:
    spec = input_spec_from(load_model(run).card)
    support, labels, query = example_episode(spec, n_way=3, n_shot=2, n_query=2)
    some = torch.tensor([4, 0, 2, 5])
    episode = (support[some], labels[some], query)
    (found,) = answers(exported, dict(zip(("support", "labels", "query"), episode, strict=True)))
    torch.testing.assert_close(found, by_torch(run, None, episode), rtol=1e-4, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("head", exportable())
def test_every_head_that_says_so_is_exported(head: str, run: Path, tmp_path: Path) -> None:
    ended = medmeta("models", "export", run, "--head", head, "--onnx", tmp_path / "run.onnx")
    assert ended.code == 0, ended
    spec = input_spec_from(load_model(run).card)
    episode = example_episode(spec, n_way=4, n_shot=10, n_query=6)  # more images than numbers
    given = dict(zip(("support", "labels", "query"), episode, strict=True))
    (found,) = answers(tmp_path / "run.onnx", given)
    torch.testing.assert_close(found, by_torch(run, head, episode), rtol=1e-4, atol=1e-4)


def test_a_predictor_s_graph_answers_as_it_does(
    predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    file = tmp_path / "predictor.onnx"
    told = medmeta("models", "export", predictor, "--onnx", file, "--json").json()
    assert told["largest_difference"] <= 1e-4
    saved = load_predictor(predictor)
    asked = open_source(workplace / "asked", preprocessing=saved.preprocessing)
    inputs = any_tensor(as_inputs(asked.pixels, {}))[0]
    _, probabilities = answers(file, {"query": inputs})
    np.testing.assert_allclose(probabilities, saved.predict(asked.pixels).outputs, atol=1e-4)


def test_the_encoder_alone(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "encoder.onnx"
    assert medmeta("models", "export", run, "--encoder", "--onnx", file).code == 0
    images = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    (found,) = answers(file, {"images": images})
    learner = load_model(run).learner
    with torch.no_grad():
        wanted = learner.encoder(images)  # type: ignore[operator]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_graph_says_nothing_of_the_machine_it_was_made_on(exported: Path) -> None:
    content = exported.read_bytes()
    for text in (str(ROOT), sys.prefix, "site-packages", ".py", "JaneDoe"):
        assert text.encode() not in content
    properties = ort.InferenceSession(content).get_modelmeta()
    assert properties.producer_name == "medmeta"
    assert "/ 255 - 0.5) / 0.25" in properties.custom_metadata_map["medmeta.inputs"]


def test_what_cannot_be_exported_says_what_can(run: Path, maml_run: Path, tmp_path: Path) -> None:
    before = state(tmp_path)
    file = tmp_path / "x.onnx"
    able = ", ".join(exportable())
    refused("models", "export", maml_run, "--onnx", file, says=("maml does not", able))
    words = ("models", "export", run, "--head", "random_forest", "--onnx", file)
    refused(*words, says=("random_forest does not", able))
    assert state(tmp_path) == before


def test_a_graph_that_differs_from_torch_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medmeta.app.onnx_export.TOLERANCE", -1.0)
    words = ("models", "export", run, "--encoder", "--onnx", tmp_path / "x.onnx")
    ended = medmeta(*words)
    assert ended.code == 2
    assert "nothing was written" in ended.err
    assert state(tmp_path) == {}


def test_without_the_extra(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = ("models", "export", run, "--onnx", tmp_path / "x.onnx")
    refused(*words, says="pip install 'medmeta[onnx]'")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--onnx", "x.txt", "--set", "a=1"), "--set goes with --head"),
        (("--onnx", "."), "is a folder"),
        (("--onnx", "x.onnx", "--head", "rigde"), "Did you mean 'ridge'"),
    ],
)
def test_options_that_mean_nothing(
    words: tuple[str, ...], says: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused("models", "export", run, *words, says=says)
    assert state(tmp_path) == {}


def test_the_learners_that_can_are_told_apart_by_their_traits() -> None:
    assert {"prototypical", "ridge", "simple_shot", "nearest_centroid"} <= set(exportable())
    assert set(exportable()) < set(LEARNERS)
