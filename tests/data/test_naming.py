from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmeta.data.naming import check_each_once, differences, told_apart
from medmeta.data.source import Source
from medmeta.errors import SettingsError

PARTS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)


def source(name: str) -> Source:
    return Source.from_arrays(name, np.zeros((2, 1, 4, 4), dtype=np.uint8), ["x", "y"])


def names(sources: list[Source]) -> list[str]:
    return [one.name for one in sources]


def test_sources_of_one_name_are_told_apart_and_others_left() -> None:
    paths = [Path("/d/north/images"), Path("/d/x.npz"), Path("/d/south/images")]
    given = [source("images"), source("x"), source("images")]
    assert names(told_apart(given, paths)) == ["images (north)", "x", "images (south)"]
    assert told_apart(given[:2], paths[:2]) == given[:2]


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["/d/a.csv", "/d/b.csv"], ["a.csv", "b.csv"]),
        (["/d/a/x/i", "/d/a/y/i", "/d/b/x/i"], ["a-x", "a-y", "b-x"]),
        (["/i", "/d/i"], ["", "d"]),
    ],
)
def test_by_what(paths: list[str], told: list[str]) -> None:
    assert differences([Path(path) for path in paths])[-1] == told[-1]
    assert len(set(differences([Path(path) for path in paths]))) == len(paths)


@given(st.lists(PARTS.map(lambda parts: Path("/", *parts)), min_size=2, max_size=6, unique=True))
def test_different_paths_are_called_differently(paths: list[Path]) -> None:
    assert len(set(differences(paths))) == len(paths)


def test_a_path_given_twice(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SettingsError, match="given twice"):
        check_each_once([tmp_path, tmp_path / "link"])
    check_each_once([tmp_path, tmp_path / "other"])
