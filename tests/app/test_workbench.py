"""Predictors: saved, loaded, asked; with other heads, from other runs, of values."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medmeta.app.images import read_images
from medmeta.app.models import load_model
from medmeta.app.predictor import SUPPORT
from medmeta.app.support import open_support
from medmeta.app.trusting import trusted
from medmeta.app.workbench import adapt, is_predictor, load_predictor
from medmeta.data.source import Source
from medmeta.errors import CheckpointError, SamplingError, SettingsError
from medmeta.storage import load_folder, save_folder
from medmeta.training.checkpoint import tensors_from_bytes, tensors_to_bytes
from tests.app._typed import WEIRD, folder, medmeta, refused, state, values_manifest


def test_a_predictor_answers_the_same_after_loading(
    run: Path, predictor: Path, workplace: Path
) -> None:
    loaded = load_predictor(predictor)
    asked = read_images([workplace / "asked"], loaded.preprocessing).pixels
    model = load_model(run)
    support = open_support(workplace / "mine", model.preprocessing).source
    fresh = trusted(adapt(model, support), support, model)
    one, two = fresh.predict(asked), loaded.predict(asked)
    np.testing.assert_array_equal(one.outputs, two.outputs)
    np.testing.assert_array_equal(one.embeddings, two.embeddings)
    np.testing.assert_array_equal(one.nearest, two.nearest)
    again = load_predictor(predictor).predict(asked)
    np.testing.assert_array_equal(again.outputs, two.outputs)


@pytest.mark.parametrize("head", [None, "ridge"])
def test_answers_do_not_depend_on_the_company(head: str | None, run: Path, workplace: Path) -> None:
    model = load_model(run)
    support = open_support(workplace / "mine", model.preprocessing).source
    task = adapt(model, support, head=head)
    asked = read_images([workplace / "asked", workplace / "mine"], model.preprocessing).pixels
    together = task.predict(asked).outputs
    alone = np.concatenate([task.predict(image[None]).outputs for image in asked])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-6)
    backwards = task.predict(asked[::-1]).outputs[::-1]
    np.testing.assert_allclose(backwards, together, rtol=0, atol=1e-6)


def test_nothing_in_a_predictor_names_a_file_or_a_path(predictor: Path, workplace: Path) -> None:
    for file in predictor.iterdir():
        content = file.read_bytes()
        assert b"JaneDoe" not in content, file
        assert str(workplace).encode() not in content, file


def test_support_images_are_called_by_class_and_number(predictor: Path) -> None:
    loaded = load_predictor(predictor)
    assert sorted(loaded.class_names) == sorted(WEIRD)
    assert set(loaded.support_names) == {f"{name} #{i + 1}" for name in WEIRD for i in range(5)}
    assert loaded.learned_from(loaded.pixels[:3]).all()
    assert not loaded.learned_from(loaded.pixels[:3] ^ 1).any()


def test_a_predictor_is_not_overwritten(run: Path, predictor: Path, workplace: Path) -> None:
    before = state(predictor)
    given = ["adapt", workplace / "mine", "--model", run, "--out"]
    refused(*given, predictor, says="already there")
    refused(*given, predictor / "card.json" / "p", says="card.json")
    refused(*given, "/proc/nowhere", says="/proc/nowhere")
    assert state(predictor) == before


def test_another_head(run: Path, workplace: Path, tmp_path: Path) -> None:
    out = tmp_path / "p"
    given = ["adapt", workplace / "mine", "--model", run, "--out", out, "--head"]
    refused(*given, "rige", says="Did you mean 'ridge'")
    refused(*given, "maml", says=("maml is not a head", "ridge"))
    refused(*given, "ridge", "--set", "regularization=1", says="did you mean regularisation")
    refused(*given[:-1], "--set", "a=1", says="--learner")
    refused(*given[:-1], "--seed", "-1", says="--seed")
    refused(*given[:-1], "--seed", 2**64, says="--seed")
    assert not out.exists()
    ended = medmeta(*given, "ridge", "--json")
    assert ended.code == 0, ended
    assert ended.json()["head"] == "ridge"
    assert load_predictor(out).card["head"]["name"] == "ridge"
    assert "ridge" in medmeta("inspect", out).out
    for command in (
        ["predict", out, workplace / "asked", "--out", tmp_path / "o.csv"],
        ["report", out, "--query", workplace / "asked", "--out", tmp_path / "o.html"],
    ):
        assert medmeta(*command).code == 0


def test_heads_and_ways_of_maml(maml_run: Path, workplace: Path, tmp_path: Path) -> None:
    two = folder(tmp_path / "two", ("a", "b"), 3)
    given = ["--model", maml_run, "--out", tmp_path / "p"]
    refused("adapt", workplace / "mine", *given, says=("at most 2", "this task has 4"))
    refused("adapt", two, *given, "--head", "ridge", says="--head")
    assert medmeta("adapt", two, *given).code == 0
    loaded = load_predictor(tmp_path / "p")
    outputs = loaded.predict(loaded.pixels).outputs
    np.testing.assert_array_equal(outputs, load_predictor(tmp_path / "p").predict(loaded.pixels)
                                  .outputs)  # fmt: skip


def test_a_run_is_no_predictor_and_a_predictor_no_run(
    run: Path, predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.csv"
    refused("predict", run, workplace / "asked", "--out", out, says=("run", "medmeta adapt"))
    refused(
        "adapt",
        workplace / "mine",
        "--model",
        predictor,
        "--out",
        out,
        says="is a predictor of 'medmeta adapt'",
    )
    refused(
        "evaluate",
        predictor,
        "--source",
        workplace / "mine",
        says="is a predictor of 'medmeta adapt'",
    )
    assert is_predictor(predictor)
    assert not is_predictor(run)


def test_classes_without_an_image_are_not_learned(run: Path) -> None:
    model = load_model(run)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    source = Source.from_arrays("made", pixels, list("aabbcc"))
    part = source.take(np.array([0, 1, 4, 5]))
    assert part.index.class_names == ("a", "b", "c")
    task = adapt(model, part)
    assert task.class_names == ("a", "c")
    assert np.isfinite(task.predict(pixels).outputs).all()
    with pytest.raises(SamplingError, match="one class only"):
        adapt(model, source.take(np.array([2, 3])))
    with pytest.raises(SettingsError, match="--seed"):
        adapt(model, source, seed=-1)


@pytest.mark.parametrize("spoilt", ["labels", "pixels", "shape", "missing", "float"])
def test_a_support_set_that_was_made_up(spoilt: str, predictor: Path, tmp_path: Path) -> None:
    card, parts = load_folder(predictor)
    support = tensors_from_bytes(parts[SUPPORT], where=predictor)
    if spoilt == "labels":
        support["labels"] = support["labels"] + 1
    elif spoilt == "pixels":
        support["pixels"] = support["pixels"][:3]
    elif spoilt == "shape":
        support["pixels"] = support["pixels"][..., :16].contiguous()
    elif spoilt == "missing":
        del support["labels"]
    else:
        support["labels"] = support["labels"].to(torch.float32)
    save_folder(tmp_path / "p", card, {**parts, SUPPORT: tensors_to_bytes(support)})
    with pytest.raises(CheckpointError, match="support"):
        load_predictor(tmp_path / "p")


def test_values_from_end_to_end(tmp_path: Path, run: Path, workplace: Path) -> None:
    manifest, out = values_manifest(tmp_path / "ages"), tmp_path / "run"
    words = ["train", "--source", manifest, "--learner", "ridge", "--set",
             "encoder.options.width=8", "--size", "32", "--shot", "5", "--query", "5", "--steps",
             "2", "--out", out]  # fmt: skip
    refused(*words, says="--target values")
    assert medmeta(*words, "--target", "values").code == 0
    refused("evaluate", out, "--source", workplace / "mine", says="this model is for values")
    refused("evaluate", run, "--source", manifest, says="this model is for classes")
    refused("adapt", workplace / "mine", "--model", out, "--out", tmp_path / "p", says="values")
    others = values_manifest(tmp_path / "others", 24)
    for file in others.parent.glob("*.png"):
        image = np.asarray(Image.open(file))
        Image.fromarray(255 - image).save(file)
    given = ["evaluate", out, "--source", others, "--shot", "5", "--query", "5", "--episodes", "4"]
    (row,) = medmeta(*given, "--json").json()
    assert row["novelty"] == "new images"
    assert "r_squared" in row["summary"]
    assert "R²" in medmeta(*given).out
    adapted = medmeta("adapt", others, "--model", out, "--out", tmp_path / "p", "--json")
    assert adapted.json()["images"] == 24
    table = tmp_path / "o.csv"
    assert medmeta("predict", tmp_path / "p", others.parent, "--out", table).code == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = [int(Path(row["path"]).stem) / 10 for row in rows]
    assert np.corrcoef(right, [float(row["predicted"]) for row in rows])[0, 1] > 0.9
    assert rows[0]["nearest_1"].startswith("image #")
    refused("report", tmp_path / "p", "--out", tmp_path / "o.html", says="medmeta predict")
    assert medmeta("inspect", tmp_path / "p").code == 0
    assert medmeta("report", out, "--out", tmp_path / "o.html").code == 0
