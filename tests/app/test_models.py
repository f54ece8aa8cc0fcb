"""``medmeta models``: listing, describing, verifying and packing; the models in the box."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medmeta import box
from medmeta.app.models import PACKED_SEEN, load_model
from medmeta.app.run_folder import load_seen
from medmeta.app.trusting import PRIOR, prior_of
from medmeta.errors import CheckpointError
from medmeta.storage import CARD, load_folder, save_folder
from medmeta.training.checkpoint import WEIGHTS
from tests.app._typed import medmeta, refused, state

Copy = Callable[[Path], Path]
ABOUT = {
    "what": "A small network for tests.",
    "data": ["made-up pictures, 6 classes"],
    "licences": ["none needed"],
    "recipe": "ten steps",
    "figures": [{"source": "trained", "accuracy": 0.5}],
    "limits": ["knows nothing"],
}


@pytest.fixture(scope="session")
def packed(workplace: Path, run: Path) -> Path:
    """The run, packed with what a person wrote about it."""
    (workplace / "about.json").write_text(json.dumps(ABOUT))
    words = ("models", "pack", run, "--about", workplace / "about.json")
    ended = medmeta(*words, "--out", workplace / "packed")
    assert ended.code == 0, ended
    return workplace / "packed"


@pytest.fixture
def boxed(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box that holds the packed run as ``medmeta-tiny``."""
    folder = tmp_path / "box" / "medmeta-tiny"
    shutil.copytree(packed, folder)
    _, parts = load_folder(folder)
    digest = load_model(folder).sha256
    monkeypatch.setattr("medmeta.box.PINNED", {"medmeta-tiny": digest})
    monkeypatch.setattr("medmeta.box.box_folder", lambda name: tmp_path / "box" / name)
    assert parts.keys() >= {WEIGHTS, PACKED_SEEN}
    return folder


def test_the_box_holds_what_is_pinned_and_nothing_else() -> None:
    folders = [f for f in Path(str(box.__file__)).parent.iterdir() if (f / CARD).exists()]
    assert {folder.name for folder in folders} == set(box.PINNED)
    for folder in folders:
        assert sum(file.stat().st_size for file in folder.iterdir()) <= box.MOST_BYTES
        assert load_model(Path(folder.name)).sha256 == box.PINNED[folder.name]


def test_matrices_are_kept_in_half_the_size_and_loaded_whole(packed: Path, run: Path) -> None:
    before, on_disk = load_model(run).learner.state_dict(), load_file(packed / WEIGHTS)
    after = load_model(packed).learner.state_dict()
    assert {t.dtype for t in on_disk.values() if t.ndim > 1} == {torch.float16}
    for name, tensor in before.items():
        wanted = tensor.half() if tensor.ndim > 1 else tensor
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], wanted.to(tensor.dtype))


def test_a_weight_that_half_precision_cannot_hold_stays(run: Path, tmp_path: Path) -> None:
    from medmeta.app.packing import pack

    model = load_model(run)
    with torch.no_grad():
        next(p for p in model.learner.parameters() if p.ndim > 1).view(-1)[0] = 1e6
    found = pack(model, tmp_path / "packed")
    kept = load_file(found.folder / WEIGHTS)
    assert {t.dtype for t in kept.values() if t.ndim > 1} == {torch.float16, torch.float32}
    assert found.change < 2**-11  # half of the last place of float16's eleven digits


def test_pictures_seen_are_left_out_of_evaluations_still(packed: Path, run: Path) -> None:
    seen = load_model(packed).seen_hashes()
    assert len(seen)
    np.testing.assert_array_equal(seen, load_seen(run))
    source = run.parent / "trained"
    refused("evaluate", packed, "--source", source, says="trained on every picture of it")


def test_what_a_run_knows_of_trust_is_packed_too(run: Path, copied: Copy, tmp_path: Path) -> None:
    own = copied(run)
    known = json.loads((own / PRIOR).read_text()) if (own / PRIOR).exists() else None
    assert medmeta("models", "pack", own, "--out", tmp_path / "packed").code == 0
    found = prior_of(load_model(tmp_path / "packed"))
    assert (None if found is None else found.to_dict()) == known


def test_a_bare_name_is_found_in_the_box(boxed: Path, workplace: Path, tmp_path: Path) -> None:
    words = ("adapt", workplace / "mine", "--model", "medmeta-tiny", "--no-estimate")
    ended = medmeta(*words, "--out", tmp_path / "predictor")
    assert ended.code == 0, ended
    asked = ("predict", tmp_path / "predictor", workplace / "asked")
    assert medmeta(*asked, "--out", tmp_path / "answers.csv").code == 0
    (row,) = medmeta("models", "list", "--json").json()
    assert (row["name"], row["kind"], row["encoder"]) == ("medmeta-tiny", "box", "conv4")
    told = medmeta("models", "verify", "medmeta-tiny", "--json").json()
    assert told["as_expected"]
    assert told["kind"] == "box"


def test_a_name_that_is_not_there_lists_the_box(boxed: Path) -> None:
    for words in (("models", "describe", "medmeta-bsae"), ("models", "verify", "medmeta-bsae")):
        refused(*words, says=("medmeta-bsae is not there", "(medmeta-tiny)"))


@pytest.mark.parametrize("part", [CARD, WEIGHTS, PACKED_SEEN])
def test_an_altered_model_of_the_box_is_refused(part: str, boxed: Path) -> None:
    content = bytearray((boxed / part).read_bytes())
    content[-20] ^= 1
    (boxed / part).write_bytes(bytes(content))
    with pytest.raises(CheckpointError):
        load_model(Path("medmeta-tiny"))


def test_a_model_of_the_box_made_anew_is_refused(boxed: Path) -> None:
    card, parts = load_folder(boxed)
    shutil.rmtree(boxed)
    save_folder(boxed, {**card, "step": 77}, parts)  # whole by its own hashes
    assert load_model(boxed).card["step"] == 77
    with pytest.raises(CheckpointError, match="Install medmeta again"):
        load_model(Path("medmeta-tiny"))


def test_a_model_of_another_version_is_refused(packed: Path, tmp_path: Path) -> None:
    card, parts = load_folder(packed)
    later = {**card, "format": "medmeta-model/9", "medmeta": "9.1"}
    save_folder(tmp_path / "later", later, parts)
    refused(
        "models", "verify", tmp_path / "later",
        says=("'medmeta-model/9'", "saved by medmeta 9.1", "expected 'medmeta-model/1'"),
    )  # fmt: skip


def test_a_description_says_what_people_wrote(packed: Path) -> None:
    told = medmeta("models", "describe", packed)
    assert told.code == 0, told
    for text in (ABOUT["what"], "made-up pictures, 6 classes", "accuracy 0.5", "knows nothing"):
        assert str(text) in told.out
    card = medmeta("models", "describe", packed, "--json").json()
    assert card["about"] == ABOUT
    n = sum(p.numel() for p in load_model(packed).learner.parameters())
    assert card["weights"] == n


def test_runs_and_predictors_are_described_and_verified(run: Path, predictor: Path) -> None:
    for place, kind in ((run, "run"), (predictor, "predictor")):
        assert medmeta("models", "describe", place, "--json").json()["kind"] == kind
        told = medmeta("models", "verify", place, "--json").json()
        assert told["kind"] == kind
        again = medmeta("models", "verify", place, "--expect-sha256", told["sha256"], "--json")
        assert again.json()["as_expected"]
    refused("models", "verify", run, "--expect-sha256", "0" * 64, says="not the one expected")


def test_a_list_names_what_is_below_a_folder(
    workplace: Path, run: Path, predictor: Path, packed: Path
) -> None:
    rows: list[dict[str, Any]] = medmeta("models", "list", workplace, "--json").json()
    kinds = {Path(row["name"]).name: row["kind"] for row in rows}
    assert kinds.items() >= {("run", "run"), ("predictor", "predictor"), ("packed", "model")}
    shown = medmeta("models", "list", workplace)
    assert shown.code == 0, shown


def test_a_list_goes_on_past_what_is_damaged(packed: Path, copied: Copy, tmp_path: Path) -> None:
    spoilt = copied(packed)
    (spoilt / CARD).write_text("{")
    rows = medmeta("models", "list", tmp_path, "--json").json()
    (row,) = [row for row in rows if row["kind"] != "box"]
    assert "damaged" in row["problem"]
    assert medmeta("models", "list", tmp_path).code == 0
    refused("models", "list", tmp_path / "nowhere", says="is not a folder")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--most-mb", "0.001"), "at most 0.001 MB are wanted"),
        (("--most-mb", "0"), "give a size above 0"),
        (("--about", "about.json"), "about.json: data: "),
        (("--about", "nowhere.json"), "nowhere.json is not there"),
    ],
)
def test_packing_refuses_and_leaves_nothing(
    words: tuple[str, ...], says: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("about.json").write_text('{"data": "a text"}')
    before = state(tmp_path)
    refused("models", "pack", run, "--out", tmp_path / "packed", *words, says=says)
    assert state(tmp_path) == before


def test_weights_that_are_not_the_card_s_are_refused(packed: Path, copied: Copy) -> None:
    spoilt = copied(packed)
    save_file({"other": torch.zeros(1)}, spoilt / WEIGHTS)
    refused("models", "verify", spoilt, says="its SHA-256 differs")
