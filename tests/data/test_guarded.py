"""Decoding in a child process: late, greedy and dying children are stopped, and replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import RLELossless

from medmeta.data import guarded
from medmeta.errors import UnreadableImageError
from tests.data.dicom_files import dicom

PIXELS = np.random.default_rng(3).integers(0, 4096, (16, 24)).astype(np.uint16)


@pytest.fixture
def packed(tmp_path: Path) -> bytes:
    header = dicom(tmp_path / "it", PIXELS, Modality="MR")
    header.compress(RLELossless)
    header.save_as(tmp_path / "it")
    return (tmp_path / "it").read_bytes()


def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> guarded._Child:
    script = tmp_path / "child.py"
    script.write_text("import sys, time\nfor line in sys.stdin.buffer:\n    " + code)
    monkeypatch.setattr(guarded, "_SCRIPT", script)
    monkeypatch.setattr(guarded, "_STARTING_SECONDS", 3.0)
    return guarded._Child()


def test_pixels_come_back_as_they_were(packed: bytes) -> None:
    values, rgb = guarded.decoded_apart(packed, 0)
    assert not rgb
    assert np.array_equal(values, PIXELS)


def test_damage_is_a_reason_and_the_child_goes_on(packed: bytes) -> None:
    with pytest.raises(UnreadableImageError, match="cannot be unpacked"):
        guarded.decoded_apart(packed[: len(packed) // 2], 0)
    with pytest.raises(UnreadableImageError):
        guarded.decoded_apart(b"", 0)
    assert np.array_equal(guarded.decoded_apart(packed, 0)[0], PIXELS)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("time.sleep(100)", "takes too long"),
        ("sys.exit(1)", "makes its decoder fail"),
        ("print('hello'); sys.stdout.flush()", "makes its decoder fail"),
        ("print('{\"bytes\": 9}'); sys.exit(0)", "makes its decoder fail"),
        ("print('{\"bytes\": 99999999999}'); sys.stdout.flush()", "makes its decoder fail"),
    ],
)
def test_children_that_misbehave(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = child(monkeypatch, tmp_path, code)
    with pytest.raises(UnreadableImageError, match=says):
        one.ask(b"file", 0)
    assert one._process is None
