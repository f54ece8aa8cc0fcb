"""One tiny run and one predictor for all tests of the command line; nobody may change them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.app._typed import PRETRAIN, SMALL, TRAINED, WEIRD, folder, medmeta, picture


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``trained`` (6 classes of 8 pictures), ``mine`` (4 of 5) and ``asked``."""
    root = tmp_path_factory.mktemp("workplace")
    folder(root / "trained", TRAINED, 8)
    folder(root / "mine", WEIRD, 5, seed=3)
    for i in range(6):
        picture(root / "asked" / WEIRD[i % 4] / f"JaneDoe-asked-{i}.png", 9000 + i, centre=60)
    return root


@pytest.fixture(scope="session")
def run(workplace: Path) -> Path:
    """A prototypical network after ten steps."""
    ended = medmeta("train", "--source", workplace / "trained", *SMALL, "--out", workplace / "run")
    assert ended.code == 0, ended
    return workplace / "run"


@pytest.fixture(scope="session")
def predictor(workplace: Path, run: Path) -> Path:
    """The run adapted to ``mine``."""
    ended = medmeta("adapt", workplace / "mine", "--model", run, "--out", workplace / "predictor")
    assert ended.code == 0, ended
    return workplace / "predictor"


@pytest.fixture(scope="session")
def maml_run(workplace: Path) -> Path:
    """MAML for two classes, after two steps."""
    words = ("train", "--source", workplace / "trained", "--learner", "maml", *SMALL, "--way", "2",
             "--steps", "2", "--set", "inner_steps=1", "--validation", "none")  # fmt: skip
    ended = medmeta(*words, "--out", workplace / "maml")
    assert ended.code == 0, ended
    return workplace / "maml"


@pytest.fixture(scope="session")
def pretrained(workplace: Path) -> Path:
    """An encoder after ten steps on all classes but those held out."""
    words = ("pretrain", "--source", workplace / "trained", *PRETRAIN)
    ended = medmeta(*words, "--out", workplace / "pretrained")
    assert ended.code == 0, ended
    return workplace / "pretrained"


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy to be spoilt."""

    def copy(original: Path) -> Path:
        target = tmp_path / original.name
        shutil.copytree(original, target)
        return target

    return copy
