"""The wheel: the models in the box are in it, and it stays small."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from medmeta.app.report import page
from tests.conftest import ROOT

MOST_BYTES = 12 * 10**6
NEEDED = ("pyproject.toml", "README.md", "LICENSE", ".gitignore")
NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*_cache")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the source with one more model in the box."""
    pytest.importorskip("hatchling", reason="the extra dev")
    copy = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "src", copy / "src", ignore=NOT_COPIED)
    for name in NEEDED:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, copy / name)
    tiny = copy / "src" / "medmeta" / "box" / "medmeta-tiny"
    tiny.mkdir()
    for name in ("card.json", "weights.safetensors", "seen.safetensors"):
        (tiny / name).write_bytes(name.encode())
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(copy / "dist")]
    done = subprocess.run(words, cwd=copy, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_every_file_of_the_box_is_in_the_wheel(wheel: Path) -> None:
    box = ROOT / "src" / "medmeta" / "box"
    folders = {path.parent.name for path in box.glob("*/card.json")} | {"medmeta-tiny"}
    with zipfile.ZipFile(wheel) as archive:
        held = archive.namelist()
        assert archive.read("medmeta/box/medmeta-tiny/card.json") == b"card.json"
    for folder in folders:
        for name in ("card.json", "weights.safetensors"):
            assert f"medmeta/box/{folder}/{name}" in held


def test_the_wheel_is_small_and_holds_what_is_no_code(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        held = archive.namelist()
    assert "medmeta/py.typed" in held
    templates = Path(str(page.__file__)).parent / "templates"
    for file in templates.iterdir():
        assert f"medmeta/app/report/templates/{file.name}" in held
