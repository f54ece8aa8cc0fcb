"""Options of a training run from a TOML file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.app._typed import medmeta, refused, state

GOOD = """
source = "../trained"
size = 32
query = 2
way = "2-3"
shot = 1
steps = 3
learning-rate = 0.01
[set.encoder.options]
width = 8
"""


def written(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(text)
    return folder / "run.toml"


def test_flags_stand_over_the_file(workplace: Path, tmp_path: Path) -> None:
    file = written(workplace / "settings", GOOD)
    given = ("--steps", "2", "--set", "distance=cosine", "--json", "--out", tmp_path / "run")
    ended = medmeta("train", "--config", file, *given)
    assert ended.code == 0, ended
    assert ended.json()["step"] == 2
    card = json.loads((tmp_path / "run" / "model-000000002" / "card.json").read_text())
    assert card["options"]["encoder"]["options"] == {"width": 8}
    assert card["options"]["distance"] == "cosine"
    assert card["training"]["learning_rate"] == 0.01
    assert card["protocol"]["n_way"] == [2, 3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = = 3", ("run.toml", "not a TOML file", "line 1")),
        ("stepz = 3", ("run.toml", "no option stepz", "did you mean steps")),
        ("source = 3", ("run.toml", "source")),
        ("source = [1]", ("run.toml", "source")),
        ("set = 3", ("run.toml", "[set]")),
        ("training = 3", ("run.toml", "[set]")),
        ("learner = ['a']", "no learner"),
        ("way = [2, 5]", "--way"),
        ("steps = 'many'", "--steps"),
        ("set = {encoder = 3}", "--encoder"),
        ("set = {encodr = 3}", "did you mean encoder"),
        ("[training]\nstepz = 3", "stepz"),
        ("source = '../gone'", "gone"),
        ("out = 'x'", "no option out"),
    ],
)
def test_a_file_with_mistakes(text: str, says: str | tuple[str, ...], tmp_path: Path) -> None:
    file = written(tmp_path, text)
    before = state(tmp_path)
    refused("train", "--config", file, "--out", tmp_path / "run", says=says)
    assert state(tmp_path) == before


def test_no_file(tmp_path: Path) -> None:
    refused("train", "--config", tmp_path / "gone.toml", "--out", tmp_path / "r", says="gone.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    given = ("train", "--config", tmp_path / "bytes.toml", "--out", tmp_path / "r")
    refused(*given, says="bytes.toml")
