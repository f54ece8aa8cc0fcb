"""What cannot be used is refused in plain words, and nothing is left half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medmeta.storage import sealed
from tests.app._typed import SMALL, bomb, folder, medmeta, picture, refused, state, values_manifest

Copy = Callable[[Path], Path]
UNREADABLE = ("trunc.png", "zero.png", "text.png", "bomb.png")


def spoil(class_folder: Path) -> None:
    """Put pictures that cannot be read into a class."""
    good = next(class_folder.glob("*.png")).read_bytes()
    (class_folder / "trunc.png").write_bytes(good[:200])
    (class_folder / "zero.png").write_bytes(b"")
    (class_folder / "text.png").write_text("hello")
    bomb(class_folder / "bomb.png")


def words(command: str, source: Path, run: Path, predictor: Path, out: Path) -> list[object]:
    """A command that reads ``source`` and writes ``out``."""
    return {
        "train": ["train", "--source", source, *SMALL, "--steps", "2", "--out", out],
        "evaluate": ["evaluate", run, "--source", source, "--shot", "1", "--query", "2",
                     "--episodes", "3", "--no-baselines"],
        "adapt": ["adapt", source, "--model", run, "--out", out],
        "predict": ["predict", predictor, source, "--out", out],
    }[command]  # fmt: skip


ALL = pytest.mark.parametrize("command", ["train", "evaluate", "adapt", "predict"])


@pytest.fixture
def own_run(run: Path, copied: Copy) -> Path:
    """A copy, since evaluating writes into it."""
    return copied(run)


@ALL
def test_an_empty_folder(command: str, own_run: Path, predictor: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = state(tmp_path)
    given = words(command, tmp_path / "empty", own_run, predictor, tmp_path / "o.csv")
    refused(*given, says=str(tmp_path / "empty"))
    assert state(tmp_path) == before


@ALL
def test_no_such_path(command: str, own_run: Path, predictor: Path, tmp_path: Path) -> None:
    given = words(command, tmp_path / "gone", own_run, predictor, tmp_path / "o.csv")
    refused(*given, says=("gone", "no such file or folder"))
    assert not (tmp_path / "o.csv").exists()


@ALL
def test_pictures_that_cannot_be_read(
    command: str, own_run: Path, predictor: Path, tmp_path: Path
) -> None:
    source = folder(tmp_path / "some", ("a", "b", "c"), 5, seed=5)
    spoil(source / "b")
    before = state(tmp_path)
    given = words(command, source, own_run, predictor, tmp_path / "o.csv")
    told = refused(*given, says=tuple(f"b/{name}" for name in UNREADABLE))
    assert "--skip-bad" in told
    assert state(tmp_path) == before
    went_on = medmeta(*given, "--skip-bad")
    assert went_on.code == 0, went_on
    for name in UNREADABLE:
        assert f"b/{name}" in went_on.err  # says what was left out


@ALL
def test_what_is_no_image(command: str, own_run: Path, predictor: Path, tmp_path: Path) -> None:
    source = folder(tmp_path / "some", ("a", "b", "c"), 5, seed=5)
    (source / "a" / "notes.txt").write_text("hello")
    given = words(command, source, own_run, predictor, tmp_path / "o.csv")
    refused(*given, says="a/notes.txt")
    went_on = medmeta(*given, "--skip-bad")
    assert went_on.code == 0
    assert "notes.txt" in went_on.err


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_class_too_small(command: str, own_run: Path, predictor: Path, tmp_path: Path) -> None:
    source = folder(tmp_path / "some", ("a", "b", "c"), 5, seed=5)
    picture(source / "rare" / "1.png", 1)
    before = state(tmp_path)
    given = words(command, source, own_run, predictor, tmp_path / "o")
    told = refused(*given, says=("some", "'rare'", "1 image", "--drop-small"))
    assert "--query" in told
    assert state(tmp_path) == before
    went_on = medmeta(*given, "--drop-small")
    assert went_on.code == 0, went_on
    assert "rare" in went_on.err


@pytest.mark.parametrize("command", ["train", "adapt"])
def test_one_class_only(command: str, own_run: Path, predictor: Path, tmp_path: Path) -> None:
    source = folder(tmp_path / "alone", ("only",), 8)
    given = words(command, source, own_run, predictor, tmp_path / "o")
    refused(*given, says=("alone", "class", "Add a folder per class"))
    assert not (tmp_path / "o").exists()


MANIFESTS = {
    "columns": ("file,what\na.png,x\n", "no column path"),
    "missing": ("path,label\na.png,x\nb.png,y\nnope.png,x\n", "row 4"),
    "nan": ("path,label\na.png,NaN\nb.png,y\n", "row 2"),
    "semicolons": ("path;label\na.png;x\nb.png;y\n", "semicolons"),
    "absolute": ("path,label\na.png,x\n/etc/passwd,y\n", "row 3"),
    "leaves": ("path,label\na.png,x\n../secret.png,y\n", "row 3"),
    "empty": ("", "header"),
    "headed only": ("path,label\n", "no image"),
    "values": ("path,value\na.png,1.5\nb.png,2.5\n", "values"),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_manifests(kind: str, run: Path, tmp_path: Path) -> None:
    text, says = MANIFESTS[kind]
    picture(tmp_path / "secret.png", 1)
    picture(tmp_path / "images" / "a.png", 2)
    picture(tmp_path / "images" / "b.png", 3)
    manifest = tmp_path / "images" / "table.csv"
    manifest.write_text(text)
    named = "images" if kind == "values" else "table.csv"
    refused("adapt", manifest, "--model", run, "--out", tmp_path / "p", says=(named, says))
    assert not (tmp_path / "p").exists()


def changed(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("part", ["weights.safetensors", "support.safetensors"])
def test_a_predictor_with_a_flipped_bit(
    part: str, predictor: Path, workplace: Path, copied: Copy, tmp_path: Path
) -> None:
    spoilt = copied(predictor)
    changed(spoilt / part)
    out = tmp_path / "o.html"
    for given in (
        ["predict", spoilt, workplace / "asked", "--out", tmp_path / "o.csv"],
        ["report", spoilt, "--out", out],
        ["inspect", spoilt],
    ):
        refused(*given, says=(part, "SHA-256"))
    assert not out.exists()


@pytest.mark.parametrize("part", ["model-*/weights.*", "seen/hashes.*", "checkpoint-*/state.*"])
def test_a_run_with_a_flipped_bit(
    part: str, run: Path, workplace: Path, copied: Copy, tmp_path: Path
) -> None:
    spoilt = copied(run)
    (file,) = spoilt.glob(part)
    changed(file)
    evaluate = words("evaluate", workplace / "mine", spoilt, spoilt, tmp_path)
    adapt = words("adapt", workplace / "mine", spoilt, spoilt, tmp_path / "p")
    resume = ["train", "--source", workplace / "trained", *SMALL, "--out", spoilt, "--resume"]
    refusing = {"model": [evaluate, adapt], "seen": [evaluate, resume], "chec": [resume]}
    before = state(spoilt)
    for given in [*refusing.get(part[:4], refusing["model"]), ["inspect", spoilt]]:
        refused(*given, says=(file.name, "SHA-256"))
    assert state(spoilt) == before


@pytest.mark.parametrize(
    "change",
    [
        {"learner": "prototypical-2"},
        {"learner": "ridge"},
        {"learner": None},
        {"options": 3},
        {"class_names": ["one"]},
        {"class_names": "abcd"},
        {"seed": -1},
        {"seed": [1]},
        {"head": None},
        {"head": "ridge"},
        {"model": []},
        {"support": {}},
        {"preprocessing": {"size": 64, "channels": 3, "fit": "pad"}},
        {"target": {"kind": "masks", "size": 4}},
        {"evaluations": [1]},
        {"sha256": {"../../escape": "0"}},
        {"sha256": []},
        {"format": "medmeta-predictor/9"},
        {"options": {"encoder": {"name": "external:os:getcwd"}}},
    ],
    ids=str,
)
def test_cards_of_predictors(
    change: dict[str, Any], predictor: Path, workplace: Path, copied: Copy, tmp_path: Path
) -> None:
    spoilt = copied(predictor)
    card = json.loads((spoilt / "card.json").read_text())
    for key, value in change.items():
        if value is None:
            del card[key]
        else:
            card[key] = value
    (spoilt / "card.json").write_text(json.dumps(sealed(card)))
    out = tmp_path / "o.csv"
    refused("predict", spoilt, workplace / "asked", "--out", out, says=str(spoilt))
    refused("inspect", spoilt, says=str(spoilt))
    refused("report", spoilt, "--out", tmp_path / "o.html", says=str(spoilt))
    assert not out.exists()


@pytest.mark.parametrize("text", ["{nope", "[1]", '"x"', "", "null", "[" * 5000])
@pytest.mark.parametrize("which", ["predictor", "model", "checkpoint"])
def test_cards_that_are_no_cards(
    text: str, which: str, run: Path, predictor: Path, workplace: Path, copied: Copy, tmp_path: Path
) -> None:
    spoilt = copied(predictor if which == "predictor" else run)
    place = spoilt if which == "predictor" else next(spoilt.glob(f"{which}-*"))
    (place / "card.json").write_text(text)
    refused("inspect", spoilt, says=str(spoilt))
    out = tmp_path / "o.csv"
    if which == "predictor":
        refused("predict", spoilt, workplace / "asked", "--out", out, says=str(spoilt))
    else:
        refused(*words("adapt", workplace / "mine", spoilt, spoilt, out), says=str(spoilt))


@pytest.mark.parametrize("key", ["learner", "options", "input_spec", "target", "preprocessing"])
def test_a_model_s_card_without(key: str, run: Path, copied: Copy) -> None:
    spoilt = copied(run)
    (file,) = spoilt.glob("model-*/card.json")
    card = json.loads(file.read_text())
    del card[key]
    file.write_text(json.dumps(sealed(card)))
    refused("inspect", spoilt, says=(str(file), key))


def test_a_checkpoint_s_card_without_progress(run: Path, copied: Copy, workplace: Path) -> None:
    spoilt = copied(run)
    (file,) = spoilt.glob("checkpoint-*/card.json")
    card = json.loads(file.read_text())
    del card["progress"]
    file.write_text(json.dumps(sealed(card)))
    refused("inspect", spoilt, says=str(spoilt))
    resume = ["train", "--source", workplace / "trained", *SMALL, "--out", spoilt, "--resume"]
    refused(*resume, says=str(spoilt))


def test_a_run_without_its_list_of_seen_pictures(
    run: Path, copied: Copy, workplace: Path, tmp_path: Path
) -> None:
    spoilt = copied(run)
    shutil.rmtree(spoilt / "seen")
    given = words("evaluate", workplace / "mine", spoilt, spoilt, tmp_path)
    refused(*given, says="'seen'")


def test_the_wrong_hash_is_refused(
    run: Path, predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    wrong = ("--expect-sha256", "0" * 64)
    for command in ("evaluate", "adapt", "predict"):
        given = words(command, workplace / "mine", run, predictor, tmp_path / "o.csv")
        refused(*given, *wrong, says="SHA-256")
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("command", ["train", "pretrain", "evaluate", "adapt"])
def test_a_folder_of_images_and_masks_has_no_classes(
    command: str, own_run: Path, predictor: Path, tmp_path: Path
) -> None:
    pairs = folder(tmp_path / "pairs", ("images", "masks"), 8)
    given = words("train" if command == "pretrain" else command, pairs, own_run, predictor,
                  tmp_path / "out")  # fmt: skip
    says = ("pairs", "'images' and 'masks'", "--task segmentation", "--target masks")
    refused(command, *given[1:], says=says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "evaluate", "adapt"])
def test_a_window_that_is_not_known(
    command: str, own_run: Path, workplace: Path, predictor: Path, tmp_path: Path
) -> None:
    given = words(command, workplace / "mine", own_run, predictor, tmp_path / "out")
    told = refused(*given, "--window", "foo", says=("--window: 'foo' is not known", "40,400."))
    assert "Value error" not in told
    assert ".." not in told


def test_a_predictor_in_place_of_a_model(predictor: Path, workplace: Path, tmp_path: Path) -> None:
    given = ("--source", workplace / "mine")
    says = (str(predictor), "is a predictor of 'medmeta adapt', not a model")
    refused("evaluate", predictor, *given, says=says)
    refused("train", *given, "--init", predictor, "--out", tmp_path / "o", says=says)
    refused("adapt", workplace / "mine", "--model", predictor, "--out", tmp_path / "o", says=says)
    assert not (tmp_path / "o").exists()


def test_a_file_is_no_run(tmp_path: Path) -> None:
    manifest = values_manifest(tmp_path / "ages", n=2)
    told = refused("inspect", manifest, says=(str(manifest), "is a file", "data inspect"))
    assert "not there" not in told


def test_a_run_keeps_its_size_and_measures_no_surfaces(own_run: Path, workplace: Path) -> None:
    given = ("evaluate", own_run, "--source", workplace / "mine")
    refused(*given, "--size", "64", says="the --size that it was trained with")
    refused(*given, "--distances", says=("--distances are of masks", "classes"))


def test_how_many_classes_a_run_takes_is_said(run: Path, maml_run: Path) -> None:
    for made, told in ((run, "any"), (maml_run, "at most 2")):
        lines = [line.split() for line in medmeta("inspect", made).out.splitlines()]
        assert ["classes", *told.split()] in lines


def test_one_answer_is_told_of_as_one(predictor: Path, workplace: Path, tmp_path: Path) -> None:
    image = next((workplace / "asked").rglob("*.png"))
    told = medmeta("predict", predictor, image, "--out", tmp_path / "a.csv")
    assert "1 answer is in" in told.err


def test_values_that_are_all_equal(tmp_path: Path) -> None:
    manifest = values_manifest(tmp_path / "ages", n=6)
    rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([rows[0], *(f"{row.split(',')[0]},4.5" for row in rows[1:])]))
    says = (str(manifest), "all its 6 values are 4.5", "add images with other values")
    train = ("train", "--source", manifest, "--target", "values", "--learner", "ridge", *SMALL)
    refused(*train, "--out", tmp_path / "o", says=says)
    refused("adapt", manifest, "--out", tmp_path / "o", says=says)
    assert not (tmp_path / "o").exists()


def test_why_there_is_no_r_squared_of_one_query(tmp_path: Path) -> None:
    learned, measured = values_manifest(tmp_path / "a"), values_manifest(tmp_path / "b", n=20)
    rows = measured.read_text().splitlines()  # the same pictures but brighter, and so unseen
    for row in rows[1:]:
        picture(measured.parent / row.split(",")[0], 8000 + int(row.split(".")[0]), centre=90)
    train = ("train", "--source", learned, "--target", "values", "--learner", "ridge", *SMALL)
    made = medmeta(*train, "--validation", "none", "--steps", "1", "--out", tmp_path / "run")
    assert made.code == 0, made
    assert "--way is not used" in made.err
    given = ("evaluate", tmp_path / "run", "--source", measured, "--shot", "3", "--episodes", "2")
    one, two = (medmeta(*given, "--no-baselines", "--query", n) for n in ("1", "2"))
    assert (one.code, two.code) == (0, 0), (one, two)
    assert "say --query 2 or more" in one.err
    assert "say --query" not in two.err


@pytest.mark.parametrize("named", [("--head", "ridge"), ()], ids=str)
def test_an_adapted_encoder_is_not_set_anew(
    named: tuple[str, ...], run: Path, workplace: Path, tmp_path: Path
) -> None:
    model = ("--model", run) if named else ()
    given = ("adapt", workplace / "mine", *model, *named, "--out", tmp_path / "p")
    for option in ("encoder.flips=true", "encoder.options.width=99", "encoder.name=pixels"):
        says = (option.split("=")[0].removesuffix(".width"), "the encoder is the run's")
        refused(*given, "--set", option, says=says)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--learner", "prototipical"], "Did you mean 'prototypical'"),
        (["--encoder", "conv5"], "Did you mean 'conv4'"),
        (["--set", "encodr=3"], "did you mean encoder"),
        (["--set", "distance"], "option=value"),
        (["--set", "encoder=conv4"], "encoder.name=conv4"),
        (["--set", "encoder.options.width=wide"], "width"),
        (["--way", "x"], "--way"),
        (["--way", "1"], "--way"),
        (["--way", "7"], "trained has 6"),
        (["--way", "5-2"], "--way"),
        (["--shot", "0"], "--shot"),
        (["--query", "0"], "query"),
        (["--query", "20000"], "query"),
        (["--steps", "0"], "--steps"),
        (["--steps", "many"], "--steps"),
        (["--size", "7"], "--size"),
        (["--size", "100000"], "--size"),
        (["--channels", "2"], "--channels"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--seed", "-1"], "--seed"),
        (["--device", "abacus"], "--device"),
        (["--threads", "0"], "--threads"),
        (["--norm", "bath"], "norm"),
        (["--target", "values"], "values"),
        (["--tasks-per-step", "0"], "--tasks-per-step"),
        (["--bogus", "1"], "--bogus"),
    ],
    ids=str,
)
def test_options_of_train(given: list[str], says: str, workplace: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    refused("train", "--source", workplace / "trained", *SMALL, "--out", out, *given, says=says)
    assert state(tmp_path) == {}


def test_code_from_outside_needs_a_word(workplace: Path, tmp_path: Path) -> None:
    given = ("train", "--source", workplace / "trained", "--encoder", "external:os:getcwd")
    refused(*given, "--out", tmp_path / "run", says="--allow-external")
    told = refused(*given, "--out", tmp_path / "run", "--allow-external", says="external:os:getcwd")
    assert "torch module" in told
    assert state(tmp_path) == {}


def test_who_takes_what_a_learner_does_not(tmp_path: Path) -> None:
    """The error names the learner, what it takes, and those that take what was asked for."""
    manifest = values_manifest(tmp_path / "ages")
    given = ["train", "--source", manifest, "--target", "values", "--learner", "prototypical"]
    says = (
        "prototypical takes classes, not values",
        "Learners that take values: ",
        "maml",
        "ridge",
    )
    refused(*given, "--out", tmp_path / "run", says=says)
    assert not (tmp_path / "run").exists()
