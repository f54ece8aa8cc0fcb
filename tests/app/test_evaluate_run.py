"""Evaluating runs and comparing them, from the command line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmeta.app.evaluate_run import EvaluationRequest, evaluate_model
from medmeta.app.models import LoadedModel, load_model
from medmeta.data.sources import open_source
from medmeta.errors import SettingsError
from medmeta.evaluation.evaluate import evaluate
from medmeta.learners import EmbeddingLearner
from tests.app._typed import folder, medmeta, picture, refused, state

Copy = Callable[[Path], Path]
FEW = ("--shot", "1", "--query", "2", "--episodes", "6")


@pytest.fixture
def own_run(run: Path, copied: Copy) -> Path:
    """A copy without earlier evaluations."""
    own = copied(run)
    shutil.rmtree(own / "evaluations", ignore_errors=True)
    return own


def evaluated(run: Path, *words: object) -> list[dict[str, Any]]:
    ended = medmeta("evaluate", run, "--source", *words, "--json")
    assert ended.code == 0, ended
    rows: list[dict[str, Any]] = ended.json()
    return rows


def test_two_folders_of_one_name(own_run: Path, tmp_path: Path) -> None:
    sites = [folder(tmp_path / at / "images", ("p", "q", "r", "s", "t", "u"), 5, seed=len(at))
             for at in ("east", "north")]  # fmt: skip
    rows = evaluated(own_run, *sites, *FEW)
    assert [row["source"] for row in rows] == ["images (east)", "images (north)"]
    kept = {path.name.split("-")[0] for path in (own_run / "evaluations").iterdir()}
    assert kept == {"images (east)", "images (north)"}
    refused("evaluate", own_run, "--source", sites[0], sites[0], *FEW, says="given twice")


def test_a_row_for_each_source_and_shot(own_run: Path, workplace: Path, tmp_path: Path) -> None:
    other = folder(tmp_path / "other", ("p", "q", "r", "s", "t", "u"), 5, seed=9)
    given = ("--shot", "1", "2", "--query", "2", "--episodes", "6", "--out", tmp_path / "t.json")
    rows = evaluated(own_run, workplace / "mine", other, *given)
    shots = [(row["source"], row["protocol"]["n_shot"]) for row in rows]
    assert shots == [("mine", [1, 1]), ("mine", [2, 2]), ("other", [1, 1]), ("other", [2, 2])]
    assert json.loads((tmp_path / "t.json").read_text()) == rows
    for row in rows:
        assert row["protocol"]["n_way"] == [3, 3]  # the run's largest
        assert row["novelty"] == "new classes"
        assert row["baselines"]["chance"]["mean"] == pytest.approx(1 / 3)
        assert row["summary"]["accuracy"]["tasks"] == 6
    kept = list((own_run / "evaluations").glob("*/records.csv"))
    assert len(kept) == 4
    shown = medmeta("inspect", own_run)
    assert shown.out.count("other") == 2


def test_each_image_is_encoded_once_for_all_shots(
    run: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(run)
    seen: dict[EmbeddingLearner, int] = {}
    encode = EmbeddingLearner.encode

    def spy(self: EmbeddingLearner, inputs: Any) -> Any:
        seen[self] = seen.get(self, 0) + inputs.shape[1]
        return encode(self, inputs)

    monkeypatch.setattr(EmbeddingLearner, "encode", spy)
    source = open_source(workplace / "mine", preprocessing=model.preprocessing)
    steps: list[str] = []
    request = EvaluationRequest(shots=(1, 2), query=2, episodes=40)
    rows = evaluate_model(
        LoadedModel(model.learner, model.card), [source], request,
        progress=lambda what, done, total: steps.append(what),
    )  # fmt: skip
    assert sorted(seen.values()) == [20, 20]  # the model, and the baseline's raw pixels
    assert list(dict.fromkeys(steps)) == [
        "mine, ridge on raw pixels, 3-way 1-shot, 2 queries per class",
        "mine, ridge on raw pixels, 3-way 2-shot, 2 queries per class",
        "mine, encoding images",
        "mine, 3-way 1-shot, 2 queries per class",
        "mine, 3-way 2-shot, 2 queries per class",
    ]
    for row in rows:
        alone = evaluate(model.learner, source, row.evaluation.protocol)
        np.testing.assert_allclose(
            row.evaluation.records["log_loss"], alone.records["log_loss"], atol=1e-5
        )


def test_records_bear_out_the_summary(own_run: Path, workplace: Path) -> None:
    (row,) = evaluated(own_run, workplace / "mine", *FEW)
    (file,) = (own_run / "evaluations").glob("*/records.csv")
    with file.open(newline="") as opened:
        accuracies = [float(record["accuracy"]) for record in csv.DictReader(opened)]
    assert np.mean(accuracies) == pytest.approx(row["summary"]["accuracy"]["mean"])


def test_figures_of_earlier_weights_are_no_figures_of_the_run(
    own_run: Path, workplace: Path
) -> None:
    evaluated(own_run, workplace / "mine", *FEW)
    model = load_model(own_run)
    before = len(model.all_evaluations())
    (file, *_) = sorted((own_run / "evaluations").glob("*/summary.json"))
    summary = json.loads(file.read_text())
    assert summary["model"] == model.sha256 != ""
    file.write_text(json.dumps({**summary, "model": "0" * 64}))
    assert len(load_model(own_run).all_evaluations()) == before - 1


def test_pictures_seen_in_training_are_left_out(
    own_run: Path, workplace: Path, tmp_path: Path
) -> None:
    refused("evaluate", own_run, "--source", workplace / "trained", says=("trained", "every"))
    mixed = folder(tmp_path / "mixed", ("new 1", "new 2"), 6, seed=11)
    shutil.copytree(workplace / "trained" / "alpha", mixed / "alpha")
    for i in range(4):
        seen = workplace / "trained" / "beta" / f"JaneDoe-1-{i}.png"
        shutil.copy(seen, mixed / "new 2" / f"seen-{i}.png")
    (row,) = evaluated(own_run, mixed, *FEW)
    assert row["excluded_as_seen"] == 12
    assert "12 pictures" in row["notes"][0]
    assert row["protocol"]["n_way"] == [2, 2]  # nothing of alpha is left
    assert "alpha" not in {c for c, n in zip(row["class_names"], row["confusion"], strict=True)
                           if sum(n)}  # fmt: skip
    model = load_model(own_run)
    source = open_source(mixed, preprocessing=model.preprocessing)
    assert np.isin(source.hashes, model.seen_hashes()).sum() == 12
    (mixed / "new 1" / "JaneDoe-0-0.png").unlink()
    given = ("--shot", "4", "--query", "2")
    told = refused("evaluate", own_run, "--source", mixed, *given, says="'new 1' has 5 images")
    assert "12 of its pictures were seen in training" in told


def test_other_pictures_of_patients_seen_in_training_are_left_out(
    own_run: Path, workplace: Path, tmp_path: Path
) -> None:
    """Of eight patients with two pictures each, the run has seen one picture of three."""
    made = folder(tmp_path / "made", ("new 1", "new 2"), 8, seed=12)
    rows = [["path", "label", "patient"]]
    for k, file in enumerate(sorted(made.rglob("*.png"))):
        rows.append([str(file), file.parent.name, f"P{k % 8}"])
    for k, file in enumerate(sorted((workplace / "trained" / "alpha").glob("*.png"))[:3]):
        copied = shutil.copy(file, made / f"again-{k}.png")
        rows.append([str(copied), "new 1", f"P{k}"])
    table = tmp_path / "again.csv"
    with table.open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)
    asked = ("--shot", "1", "--query", "2", "--episodes", "4")
    (row,) = evaluated(own_run, table, *asked)
    assert row["excluded_as_seen"] == 3 + 2 * 3
    assert "3 pictures that the run has seen in training are left out, and 6 others" in " ".join(
        row["notes"]
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--way", "9", *FEW], "mine has 4"),
        (["--way", "1"], "--way 1"),
        (["--way", "many"], "--way"),
        (["--shot", "0"], "shot"),
        (["--query", "0"], "query"),
        (["--episodes", "0"], "episodes"),
        (["--seed", "-1"], "seed"),
        (["--learner", "ridge"], "not both"),
        (["--shot", "4", "--query", "2"], "'<b>bold' has 5 images"),
        (["--out", "/proc/nowhere/t.json", *FEW], "/proc/nowhere"),
    ],
    ids=str,
)
def test_requests_that_cannot_be(
    given: list[str], says: str, own_run: Path, workplace: Path
) -> None:
    refused("evaluate", own_run, "--source", workplace / "mine", *given, says=says)


def test_all_sources_are_checked_before_the_first_is_measured(
    own_run: Path, workplace: Path, tmp_path: Path
) -> None:
    small = folder(tmp_path / "small", ("a", "b", "c"), 2, seed=12)
    before = state(own_run)
    given = ("evaluate", own_run, "--source", workplace / "mine", small, *FEW)
    refused(*given, says="small: class 'a' has 2 images")
    refused("evaluate", own_run, *FEW, says="--source")
    assert state(own_run) == before
    model = load_model(own_run)
    mine = open_source(workplace / "mine", preprocessing=model.preprocessing)
    with pytest.raises(SettingsError, match="two sources are called 'mine'"):
        evaluate_model(model, [mine, mine], EvaluationRequest())


def test_more_ways_than_maml_was_built_for(maml_run: Path, workplace: Path) -> None:
    given = ("evaluate", maml_run, "--source", workplace / "mine", *FEW)
    refused(*given, "--way", "3", says=("at most 2", "max_way=3"))


@pytest.mark.parametrize("episodes", [1, 2])
def test_few_tasks_give_figures_without_intervals(
    episodes: int, own_run: Path, workplace: Path
) -> None:
    given = ("--shot", "1", "--query", "1", "--episodes", episodes)
    (row,) = evaluated(own_run, workplace / "mine", *given)
    assert (row["summary"]["accuracy"]["low"] is None) == (episodes == 1)
    shown = medmeta("evaluate", own_run, "--source", workplace / "mine", *given)
    assert shown.code == 0
    assert medmeta("inspect", own_run).code == 0


def test_no_accuracy_is_beyond_what_is_possible(own_run: Path, tmp_path: Path) -> None:
    for k in range(12):  # classes that do not differ, so that tasks do
        picture(tmp_path / "alike" / "ab"[k % 2] / f"{k}.png", 500 + k, centre=60)
    few = ("--shot", "1", "--query", "1", "--episodes", "3", "--way", "2")
    rows = evaluated(own_run, tmp_path / "alike", *few)
    told = [rows[0]["summary"][name] for name in ("accuracy", "balanced_accuracy", "auroc")]
    told.append(rows[0]["baselines"]["ridge on raw pixels"])
    widths = [4.303 * figure["spread"] / 3**0.5 for figure in told]  # Student's t of three
    assert any(not w <= f["mean"] <= 1 - w for f, w in zip(told, widths, strict=True))
    assert all(0 <= figure["low"] <= figure["high"] <= 1 for figure in told)


def test_an_untrained_baseline(workplace: Path, tmp_path: Path) -> None:
    words = ("evaluate", "--learner", "ridge", "--encoder", "pixels", "--size", "32", "--source",
             workplace / "mine", *FEW)  # fmt: skip
    before = state(workplace)
    (row,) = medmeta(*words, "--json").json()
    assert row["novelty"] == "nothing was trained"
    difference = row["baselines"]["ridge on raw pixels"]["difference"]
    assert difference == {"mean": 0.0, "low": 0.0, "high": 0.0}  # it is that baseline
    assert medmeta(*words).code == 0
    assert state(workplace) == before


def test_an_untrained_baseline_has_options(workplace: Path) -> None:
    words = ("evaluate", "--learner", "ridge", "--size", "32", "--source", workplace / "mine", *FEW,
             "--no-baselines")  # fmt: skip
    parts = ("--set", "encoder.options.parts=border,hog_colour", "--set", "encoder.flips=true")
    found = {
        given: medmeta(*words, *given, "--json").json()[0]["summary"]
        for given in (
            ("--encoder", "pixels"),
            ("--set", "encoder.name=pixels"),
            ("--encoder", "pixels", "--set", "encoder.options.side=1"),
            ("--encoder", "joined", *parts),
        )
    }
    whole, named, one_pixel, joined = found.values()
    assert whole == named != one_pixel
    assert joined not in (whole, one_pixel)
    refused("evaluate", *words[1:], "--set", "encoder.options.sid=1", "--encoder", "pixels",
            says="did you mean side")  # fmt: skip


def test_a_run_s_encoder_is_not_set_anew(own_run: Path, workplace: Path) -> None:
    given = ("evaluate", own_run, "--source", workplace / "mine", *FEW)
    refused(*given, "--encoder", "pixels", says="untrained --learner")
    refused(*given, "--set", "encoder.flips=true", says="untrained --learner")
    refused(*given, "--learner", "ridge", says="not both")


def test_runs_are_compared_task_by_task(
    own_run: Path, workplace: Path, maml_run: Path, copied: Copy
) -> None:
    other = copied(maml_run)
    given = (workplace / "mine", *FEW, "--way", "2")
    (one,), (two,) = evaluated(own_run, *given), evaluated(other, *given)
    (first,) = (own_run / "evaluations").iterdir()
    (second,) = (other / "evaluations").iterdir()
    told = medmeta("compare", first, second, "--json").json()
    means = [row["summary"]["accuracy"]["mean"] for row in (one, two)]
    assert told["mean difference"] == pytest.approx(means[0] - means[1])
    assert told["tasks"] == 6
    shown = medmeta("compare", first, second)
    assert shown.code == 0
    assert f"{means[0] - means[1]:+.4f}" in shown.out
    refused("compare", first, second, "--metric", "task", says="accuracy")
    refused("compare", first, own_run, says="RUN/evaluations")
    evaluated(other, workplace / "mine", *FEW, "--way", "2", "--seed", "1")
    (reseeded,) = set((other / "evaluations").iterdir()) - {second}
    refused("compare", first, reseeded, says="same tasks")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("summary.json", "{}"),
        ("summary.json", "[1"),
        ("records.csv", ""),
        ("records.csv", "task,accuracy\n0,high\n"),
        ("records.csv", "accuracy\n0.5\n"),
    ],
)
def test_a_damaged_evaluation(file: str, text: str, own_run: Path, workplace: Path) -> None:
    evaluated(own_run, workplace / "mine", *FEW)
    (kept,) = (own_run / "evaluations").iterdir()
    (kept / file).write_text(text)
    refused("compare", kept, kept, says=str(kept))
    if file == "summary.json":
        refused("inspect", own_run, says=str(kept))


def test_same_names_of_other_pictures_are_kept_apart(
    own_run: Path, workplace: Path, tmp_path: Path
) -> None:
    evaluated(own_run, workplace / "mine", *FEW)
    evaluated(own_run, folder(tmp_path / "mine", ("a", "b", "c"), 5, seed=14), *FEW)
    one, two = (own_run / "evaluations").iterdir()
    refused("compare", one, two, says="same tasks")


def test_the_python_function_says_the_same(run: Path, workplace: Path) -> None:
    model = load_model(run)
    source = open_source(workplace / "mine", preprocessing=model.preprocessing)
    request = EvaluationRequest(shots=(2, 2), query=2, episodes=4, baselines=False)
    (row,) = evaluate_model(model, [source], request)  # a shot asked twice is measured once
    assert row.baselines == {}
    assert row.to_dict()["fingerprint"] == row.fingerprint != ""


def test_a_device_that_is_not_there(run: Path) -> None:
    """It is said in words, before anything is measured."""
    with pytest.raises(SettingsError, match="'nowhere' cannot be used here"):
        evaluate_model(load_model(run), [], EvaluationRequest(), device="nowhere")
