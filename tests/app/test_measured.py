"""Evaluating a run's encoder under other heads, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmeta.app.assembling import input_spec_from, with_head
from medmeta.app.baselines import encoded_sources
from medmeta.app.evaluate_run import EvaluationRequest, evaluate_model
from medmeta.app.models import LoadedModel, load_model
from medmeta.data.sources import open_source
from medmeta.episode import InputSpec, Target
from medmeta.evaluation.evaluate import evaluate
from medmeta.learners import EmbeddingLearner, build_head, head_names
from tests.app._typed import medmeta, refused, state

Copy = Callable[[Path], Path]
FEW = ("--shot", "1", "2", "--query", "2", "--episodes", "6")


@pytest.fixture
def own_run(pretrained: Path, copied: Copy) -> Path:
    return copied(pretrained)


def evaluated(run: Path, source: Path, *given: object) -> list[dict[str, Any]]:
    ended = medmeta("evaluate", run, "--source", source, *FEW, *given, "--json")
    assert ended.code == 0, ended
    rows: list[dict[str, Any]] = ended.json()
    return rows


def test_a_row_for_each_head_and_shot(own_run: Path, workplace: Path) -> None:
    rows = evaluated(own_run, workplace / "mine", "--head", "ridge", "prototypical")
    named = [(row["head"]["name"], row["protocol"]["n_shot"][0]) for row in rows]
    assert named == [("ridge", 1), ("prototypical", 1), ("ridge", 2), ("prototypical", 2)]
    own = evaluated(own_run, workplace / "mine")
    assert [row["head"] for row in own] == [None, None]
    assert own[0]["summary"] == rows[1]["summary"]  # the run's own head is prototypical
    assert len(list((own_run / "evaluations").iterdir())) == 6
    shown = medmeta("inspect", own_run)
    assert shown.code == 0
    assert shown.out.count("ridge") == 2
    assert shown.out.count("its own") == 3  # two rows, and the run's head


def test_the_table_tells_transductive_heads_apart(own_run: Path, workplace: Path) -> None:
    heads = {("ridge",): "inductive", ("bd_cspn",): "transductive"}
    told = ("evaluate", own_run, "--source", workplace / "mine", *FEW, "--head")
    for named, mode in heads.items():
        assert f", {mode}" in medmeta(*told, *named).out
    both = medmeta(*told, "ridge", "bd_cspn").out
    assert "one by one (inductive)" in " ".join(both.split())
    rows = [line.split() for line in both.splitlines() if line.startswith("mine ")]
    assert [line[2] for line in rows] == ["one", "all", "one", "all"]


def test_the_figures_are_those_of_the_head(own_run: Path, workplace: Path) -> None:
    model = load_model(own_run)
    source = open_source(workplace / "mine", preprocessing=model.preprocessing)
    request = EvaluationRequest(
        shots=(1,), query=2, episodes=6, heads=("ridge",), head_options={"ridge": {"scale": 3.0}}
    )
    (row,) = evaluate_model(model, [source], request)
    head = with_head(
        model.learner, "ridge", {"scale": 3.0}, input_spec_from(model.card), Target("classes", 3)
    )
    alone = evaluate(head, source, row.evaluation.protocol)
    np.testing.assert_allclose(
        row.evaluation.records["log_loss"], alone.records["log_loss"], rtol=1e-5
    )
    assert row.head is not None
    assert row.head["options"]["scale"] == 3.0


def test_heads_share_one_encoding(
    pretrained: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = load_model(pretrained), 0
    encode = EmbeddingLearner.encode

    def spy(self: EmbeddingLearner, inputs: Any) -> Any:
        nonlocal seen
        seen += inputs.shape[1]
        return encode(self, inputs)

    monkeypatch.setattr(EmbeddingLearner, "encode", spy)
    source = open_source(workplace / "mine", preprocessing=model.preprocessing)
    request = EvaluationRequest(
        shots=(1, 2), query=2, episodes=40, heads=("ridge", "prototypical", "logistic"),
        baselines=False,
    )  # fmt: skip
    told: list[str] = []
    evaluate_model(LoadedModel(model.learner, model.card), [source], request,
                   progress=lambda what, done, total: told.append(what))  # fmt: skip
    assert seen == len(source) == 20
    assert "mine, head logistic, 3-way 1-shot, 2 queries per class" in told


@pytest.mark.parametrize("heads", [("auto", "ridge"), ("ridge", "auto")], ids=str)
def test_heads_with_other_parts_beside_the_encoder_have_their_own_encoding(
    heads: tuple[str, ...], own_run: Path, workplace: Path
) -> None:
    """What is chosen from takes hand-made features too; the others the run's encoder alone."""
    together = evaluated(own_run, workplace / "mine", "--no-baselines", "--head", *heads)
    for name in heads:
        alone = evaluated(own_run, workplace / "mine", "--no-baselines", "--head", name)
        found = [row["summary"] for row in together if row["head"]["name"] == name]
        assert found == [row["summary"] for row in alone]


def test_what_is_shared_by_heads_on_one_encoder_alone(pretrained: Path, workplace: Path) -> None:
    model = load_model(pretrained)
    source = open_source(workplace / "mine", preprocessing=model.preprocessing)
    spec, target = input_spec_from(model.card), Target("classes", 3)
    ridge, svm, auto = (
        with_head(model.learner, name, {}, spec, target) for name in ("ridge", "svm", "auto")
    )
    first, second, third = encoded_sources([ridge, svm, auto], source)
    assert first is second is not None
    assert third is not None
    assert third is not first


def test_options_of_one_head_and_of_several(own_run: Path, workplace: Path) -> None:
    (row, _) = evaluated(own_run, workplace / "mine", "--head", "ridge", "--set", "scale=3")
    assert row["head"]["options"]["scale"] == 3
    given = ("--head", "ridge", "logistic", "--set", "ridge.scale=4")
    named = {row["head"]["name"]: row["head"]["options"] for row in
             evaluated(own_run, workplace / "mine", *given)}  # fmt: skip
    assert named["ridge"]["scale"] == 4
    assert named["logistic"]["scale"] != 4
    folders = {path.name for path in (own_run / "evaluations").iterdir()}
    assert len(folders) == 6  # other options are something else
    summary = json.loads(next((own_run / "evaluations").glob("*ridge*/summary.json")).read_text())
    assert summary["head"]["name"] == "ridge"


def test_a_predictor_shows_the_figures_of_its_own_head(
    own_run: Path, workplace: Path, tmp_path: Path
) -> None:
    evaluated(own_run, workplace / "mine", "--head", "ridge")
    for name, head, figures in (("a", ("--head", "ridge"), 2), ("b", (), 0)):
        given = ("adapt", workplace / "asked", "--model", own_run, "--out", tmp_path / name)
        assert medmeta(*given, *head).code == 0
        card = json.loads((tmp_path / name / "card.json").read_text())
        assert len(card["evaluations"]) == figures


def test_heads_are_compared_task_by_task(own_run: Path, workplace: Path) -> None:
    evaluated(own_run, workplace / "mine", "--head", "ridge", "prototypical")
    first, second = (
        next((own_run / "evaluations").glob(f"mine-1shot-*{name}*"))
        for name in ("ridge", "prototypical")
    )
    told = medmeta("compare", first, second, "--json")
    assert told.code == 0, told
    assert told.json()["tasks"] == 6


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--head", "maml"], ("maml is not a head", "ridge")),
        (["--head", "rigde"], "Did you mean 'ridge'"),
        (["--head", "ridge", "--set", "scal=3"], "did you mean scale"),
        (["--head", "ridge", "svm", "--set", "scale=3"], "--set ridge.scale="),
        (["--head", "ridge", "svm", "--set", "logistic.scale=3"], "--set logistic"),
        (["--head", "ridge", "svm", "--set", "maml.scale=3"], "maml is not among --head ridge svm"),
        (["--set", "scale=3"], "--head"),
        (["--head", "ridge", "--set", "encoder.flips=true"], ("encoder.flips", "the run's")),
        (["--head", "ridge", "--set", "encoder.options.width=9"], "encoder is the run's"),
        (["--head", "ridge", "svm", "--set", "encoder.flips=true"], "encoder is the run's"),
        (["--head", "ridge", "svm", "--set", "svm.encoder.flips=true"], "encoder is the run's"),
    ],
    ids=str,
)
def test_heads_that_cannot_be(
    given: list[str], says: str | tuple[str, ...], own_run: Path, workplace: Path
) -> None:
    before = state(own_run)
    refused("evaluate", own_run, "--source", workplace / "mine", *FEW, *given, says=says)
    assert state(own_run) == before


def test_a_run_without_an_encoder_of_its_own(maml_run: Path, workplace: Path) -> None:
    given = ("evaluate", maml_run, "--source", workplace / "mine", *FEW, "--head", "ridge")
    told = refused(*given, says=("no encoder of its own", "medmeta pretrain"))
    assert all(name in told for name in head_names())


def test_a_head_needs_a_run(workplace: Path) -> None:
    given = ("evaluate", "--learner", "ridge", "--head", "svm", "--source", workplace / "mine")
    refused(*given, *FEW, says="--learner svm")


def fixed_heads() -> list[str]:
    """Heads with an output layer of a fixed size."""
    target, spec = Target("classes", 3), InputSpec(8, ())
    return [n for n in head_names() if build_head(n, None, spec, target).traits.max_way]


@pytest.mark.parametrize("name", fixed_heads())
def test_heads_with_a_fixed_layer_are_built_for_the_way(
    name: str, own_run: Path, workplace: Path
) -> None:
    model = load_model(own_run)
    source = open_source(workplace / "mine", preprocessing=model.preprocessing)
    request = EvaluationRequest(way="2-4", shots=(1,), query=1, episodes=2, heads=(name,))
    (row,) = evaluate_model(model, [source], request)
    assert row.evaluation.protocol.n_way == (2, 4)
