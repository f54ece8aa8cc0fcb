"""Reports from the command line: what they may say, and what they must not."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from tests.app._typed import WEIRD, medmeta, refused, state


@pytest.fixture(scope="module")
def page(
    predictor: Path, run: Path, workplace: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    words = ["report", predictor, "--query", workplace / "asked", "--run", run, "--out", out]
    ended = medmeta(*words, "--json")
    assert ended.code == 0, ended
    assert ended.json()["bytes"] == out.stat().st_size
    return out.read_text(encoding="utf-8")


def test_no_file_name_and_no_path_is_in_it(page: str, workplace: Path) -> None:
    assert "JaneDoe" not in page
    assert str(workplace) not in page
    assert workplace.name not in page


def test_weird_class_names_are_escaped(page: str) -> None:
    for name in WEIRD:
        assert html.escape(name, quote=False) in page
    assert "<b>bold" not in page


def test_a_report_on_a_run(run: Path, tmp_path: Path) -> None:
    assert medmeta("report", run, "--out", tmp_path / "r.html").code == 0
    assert "prototypical on conv4" in (tmp_path / "r.html").read_text()


def test_what_a_report_cannot_do(
    run: Path, predictor: Path, workplace: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "image.png").touch()
    before = state(tmp_path)
    out = ("--out", tmp_path / "r.html")
    asked = ("--query", workplace / "asked")
    refused("report", run, *asked, *out, says=("is a run", "medmeta adapt"))
    refused("report", tmp_path / "gone", *out, says="gone")
    refused("report", tmp_path / "empty", *out, says="empty")
    refused("report", predictor, "--query", tmp_path / "empty", *out, says="no image")
    refused("report", predictor, *asked, "--run", tmp_path / "empty", *out, says="empty")
    refused("report", predictor, *asked, "--out", tmp_path / "image.png", says="be lost")
    refused("report", predictor, *asked, "--out", tmp_path, says="is a folder")
    assert state(tmp_path) == before
