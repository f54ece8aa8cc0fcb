"""Zips: unpacked within bounds, into a folder that goes; attacks are refused and leave nothing."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medmeta.data.zipped import ZipLimits, is_zip, unpacked
from medmeta.errors import DataError


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_what_was_packed_comes_out_once(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"one/IM1": b"1", "two/IM2": b"22", "empty/": b""})
    folder = unpacked(path)
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("IM*")}
    assert found == {"one/IM1": b"1", "two/IM2": b"22"}
    assert unpacked(path) == folder
    assert not folder.is_relative_to(tmp_path)


def test_it_is_gone_when_the_program_ends(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"IM1": b"1"})
    code = (
        "import sys, pathlib; from medmeta.data.zipped import unpacked;"
        "print(unpacked(pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert not Path(done.stdout.strip()).exists()


def linked(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: zipped(p, {"../out": b"1"}), "climbs out"),
        (lambda p: zipped(p, {"a/../../out": b"1"}), "climbs out"),
        (lambda p: zipped(p, {"/etc/out": b"1"}), "climbs out"),
        (lambda p: zipped(p, {"..\\out": b"1"}), "climbs out"),
        (lambda p: zipped(p, {"C:\\out": b"1"}), "climbs out"),
        (linked, "is a link"),
        (lambda p: zipped(p, {"bomb": bytes(30_000_000)}), "more than is allowed"),
        (lambda p: zipped(p, {str(i): b"" for i in range(9)}), "more than 8 files"),
        (lambda p: p.write_bytes(b"PK\x03\x04" + b"?" * 50) and p, "is no zip, or is damaged"),
    ],
)
def test_attacks_and_damage(make: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    before = set(Path(tempfile.gettempdir()).glob("medmeta-*"))
    with pytest.raises(DataError, match=says):
        unpacked(path, ZipLimits(members=8))
    assert set(Path(tempfile.gettempdir()).glob("medmeta-*")) <= before
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_zips_are_known_by_content(tmp_path: Path) -> None:
    assert is_zip(zipped(tmp_path / "without-suffix", {"a": b"1"}))
    (tmp_path / "b.zip").write_bytes(b"no")
    assert not is_zip(tmp_path / "b.zip")
    assert not is_zip(zipped(tmp_path / "a.npz", {"a": b"1"}))
    assert not is_zip(tmp_path)
