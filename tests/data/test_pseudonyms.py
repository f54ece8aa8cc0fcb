"""Pseudonyms, and where the salt is kept."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmeta.data.pseudonyms import pseudonym, user_salt
from medmeta.errors import SettingsError


@given(st.text(min_size=1), st.text(min_size=1), st.binary(min_size=1))
def test_equal_for_equal_texts_only(one: str, other: str, salt: bytes) -> None:
    same = one.strip() == other.strip()
    assert (pseudonym(one, salt) == pseudonym(other, salt)) == same
    assert pseudonym(one, salt) != pseudonym(one, salt + b"x")


def test_the_salt_is_made_once_for_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMETA_CONFIG", str(tmp_path / "new" / "settings"))
    salt = user_salt()
    assert len(salt) == 32
    assert user_salt() == salt
    (file,) = (tmp_path / "new" / "settings").iterdir()
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setenv("MEDMETA_CONFIG", str(tmp_path / "another"))
    assert user_salt() != salt


def test_where_it_cannot_be_kept_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MEDMETA_CONFIG", str(tmp_path / "file" / "settings"))
    with pytest.raises(SettingsError, match="MEDMETA_CONFIG"):
        user_salt()
    monkeypatch.setenv("MEDMETA_CONFIG", str(tmp_path))
    (tmp_path / "salt").write_bytes(b"short")
    with pytest.raises(SettingsError, match="damaged"):
        user_salt()
