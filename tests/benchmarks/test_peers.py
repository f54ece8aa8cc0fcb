from __future__ import annotations

import sys
from pathlib import Path

import pytest

import peers


def test_a_missing_library_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.endswith(".peers")])
    monkeypatch.delitem(sys.modules, "higher", raising=False)
    with pytest.raises(peers.PeerMissingError, match=r"higher cannot be imported.*bench-peers"):
        peers.load("higher")


def test_the_folder_goes_last_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "higher.py").write_text("found = True")
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.endswith(".peers")])
    monkeypatch.delitem(sys.modules, "higher", raising=False)
    assert peers.load("higher").found
    assert sys.path[-1] == str(tmp_path)
    monkeypatch.delitem(sys.modules, "higher")
