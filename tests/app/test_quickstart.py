"""The quickstart: its folder, its commands, and (at length) the whole of it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from medmeta.app.quickstart import MARK, Quickstart, _fresh_folder
from medmeta.errors import SettingsError
from tests.app._typed import medmeta, refused, state


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "thesis.doc").touch()
    before = state(tmp_path)
    refused("quickstart", "--out", tmp_path / "q", says="holds other files")
    refused("quickstart", "--out", tmp_path / "q" / "thesis.doc", says="is a file")
    assert state(tmp_path) == before


def test_only_what_it_made_is_made_anew(tmp_path: Path) -> None:
    _fresh_folder(tmp_path / "q")
    (tmp_path / "q" / "run").mkdir()
    (tmp_path / "q" / "run" / "card.json").touch()
    (tmp_path / "q" / "report.html").touch()
    (tmp_path / "q" / "my_notes.txt").touch()
    _fresh_folder(tmp_path / "q")
    assert {path.name for path in (tmp_path / "q").iterdir()} == {MARK, "my_notes.txt"}
    (tmp_path / "q" / MARK).unlink()
    with pytest.raises(SettingsError, match="choose another --out"):
        _fresh_folder(tmp_path / "q")


def test_its_commands_can_be_pasted(tmp_path: Path) -> None:
    done = Quickstart(tmp_path / "a folder", (), 1, 2, 3.0)
    words = [shlex.split(line) for line in done.commands()]
    assert [line[1] for line in words] == ["data", "adapt", "predict", "report"]
    assert not {"--model", str(tmp_path / "a folder" / "run")} & {w for line in words for w in line}


@pytest.mark.parametrize(
    "given", [("--steps", "0"), ("--images-per-class", "4"), ("--seed", "-1")], ids=str
)
def test_numbers_that_cannot_be(given: tuple[str, str], tmp_path: Path) -> None:
    refused("quickstart", "--out", tmp_path / "q", *given, says=given[0])
    assert state(tmp_path) == {}


@pytest.mark.long
def test_the_whole_of_it(tmp_path: Path) -> None:
    given = ("--steps", "2", "--images-per-class", "15", "--json")
    ended = medmeta("quickstart", "--out", tmp_path / "q", *given)
    assert ended.code == 0, ended
    told = ended.json()
    for name in ("report", "trained_run", "support_images", "query_images", "predictions"):
        assert Path(told[name]).exists()
    assert "held out in turn" in Path(told["report"]).read_text()
    for file in (path for path in (tmp_path / "q").rglob("*") if path.is_file()):
        assert str(tmp_path).encode() not in file.read_bytes() or file.suffix == ".csv", file
    assert medmeta("quickstart", "--out", tmp_path / "q", *given).code == 0
