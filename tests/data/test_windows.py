"""Windows by name and in numbers."""

from __future__ import annotations

import pytest

from medmeta.data.windows import NAMED, Window, misfit, parse_window
from medmeta.errors import SettingsError


@pytest.mark.parametrize(("text", "centre", "width"), [("brain", 40, 80), (" Lung ", -600, 1500),
    ("40,400", 40, 400), ("-600, 1500", -600, 1500), ("1.5/3", 1.5, 3)])  # fmt: skip
def test_windows_that_are_known(text: str, centre: float, width: float) -> None:
    window = parse_window(text)
    assert window is not None
    assert (window.centre, window.width) == (centre, width)


def test_the_files_own() -> None:
    assert parse_window("file") is None


@pytest.mark.parametrize("text", ["liverr", "40", "40,0", "40,-3", "", "a,b", "40,400,3"])
def test_others_are_refused_with_the_names(text: str) -> None:
    with pytest.raises(SettingsError, match="--window"):
        parse_window(text)
    with pytest.raises(SettingsError, match=r"brain.*lung"):
        parse_window("liverr")


@pytest.mark.parametrize("name", NAMED)
def test_named_windows_are_for_ct(name: str) -> None:
    window = parse_window(name)
    assert window is not None
    assert misfit(window, "CT") is None
    assert "Hounsfield" in (misfit(window, "MR") or "")
    assert misfit(Window("", 0, 10), "MR") is None
