"""Saving whole or not at all, and reading nothing that was damaged or altered."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medmeta.errors import CheckpointError, StorageError
from medmeta.storage import (
    CARD,
    MAX_JSON_BYTES,
    MAX_TENSOR_BYTES,
    SEAL,
    load_folder,
    read_json,
    remove_leftovers,
    save_folder,
    sealed,
    write_bytes,
    write_json,
)


def full_disk(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_folder(tmp_path / "model", {"name": "ridge"}, {"a.bin": b"1234", "b.bin": b""})
    return tmp_path / "model"


def change_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / CARD).read_text("utf-8"))
    (folder / CARD).write_text(json.dumps(sealed({**card, **changes})), "utf-8")


def test_a_file_is_written_and_its_folders_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    write_bytes(path, b"abc")
    write_bytes(path, b"abcd")
    assert path.read_bytes() == b"abcd"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_json_goes_round_in_the_order_given(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"z": [1, None], "a": "é"})
    assert list(read_json(tmp_path / "a.json").items()) == [("z", [1, None]), ("a", "é")]


def test_what_json_cannot_say_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match=r"file\.bin could not be written: No space left") as e:
        write_bytes(path, b"new")
    assert "untouched" in str(e.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_a_full_disk_leaves_no_half_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match="model could not be written"):
        save_folder(tmp_path / "model", {}, {"a.bin": b"1"})
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
from medmeta.errors import StorageError
from medmeta.storage import save_folder, write_bytes

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
write_bytes(folder / "file.bin", b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for save in (
    lambda: write_bytes(folder / "file.bin", bytes(5000)),
    lambda: save_folder(folder / "model", {}, {"a.bin": b"1", "b.bin": bytes(5000)}),
):
    try:
        save()
    except StorageError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_disk_that_really_refuses(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("could not be written: File too large" in line for line in lines)
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]
    assert (tmp_path / "file.bin").read_bytes() == b"old"


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="could not be written"):
        write_bytes(tmp_path / "file" / "inner.bin", b"1")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "is damaged"),
        (b"\xff\xfe\x00", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b"9" * 10_000, "is damaged"),
    ],
)
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\.json {complaint}"):
        read_json(tmp_path / "a.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.json is not there"):
        read_json(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match=r"cannot be read: Is a directory"):
        read_json(tmp_path)


def test_huge_json_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, MAX_JSON_BYTES + 1)
    with pytest.raises(CheckpointError, match=r"a\.json is larger than 64 MB"):
        read_json(path)


def test_a_folder_goes_round(saved: Path) -> None:
    card, parts = load_folder(saved)
    assert card["name"] == "ridge"
    assert parts == {"a.bin": b"1234", "b.bin": b""}
    assert card["sha256"]["a.bin"] == hashlib.sha256(b"1234").hexdigest()


def test_what_is_saved_is_never_written_over(saved: Path) -> None:
    with pytest.raises(StorageError, match="is already there"):
        save_folder(saved, {}, {})
    assert load_folder(saved)[0]["name"] == "ridge"


def flip(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"1235")


def truncate(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"12")


def remove(folder: Path) -> None:
    (folder / "a.bin").unlink()


def enlarge(folder: Path) -> None:
    os.truncate(folder / "a.bin", MAX_TENSOR_BYTES + 1)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (flip, r"a\.bin is not what was saved \(its SHA-256 differs\)"),
        (truncate, r"a\.bin is not what was saved"),
        (remove, r"a\.bin cannot be read: No such file"),
        (enlarge, r"a\.bin is larger than 8 GB"),
    ],
)
def test_a_damaged_part_is_named(
    saved: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=complaint):
        load_folder(saved)


@pytest.mark.parametrize(
    "name", ["../secret.bin", "/etc/hostname", "inner/../../secret.bin", "..", ".hidden", "a/b"]
)
def test_a_card_cannot_name_files_elsewhere(saved: Path, name: str) -> None:
    content = b"secret"
    (saved.parent / "secret.bin").write_bytes(content)
    change_card(saved, sha256={name: hashlib.sha256(content).hexdigest()})
    with pytest.raises(CheckpointError, match="names a file outside its folder"):
        load_folder(saved)


@pytest.mark.parametrize("hashes", [None, ["a.bin"], "a.bin"])
def test_json_that_is_no_card_is_refused(saved: Path, hashes: object) -> None:
    change_card(saved, sha256=hashes)
    with pytest.raises(CheckpointError, match="is not a card of medmeta's"):
        load_folder(saved)
    (saved / CARD).write_text("[]", "utf-8")
    with pytest.raises(CheckpointError, match="is not a card of medmeta's"):
        load_folder(saved)


def test_the_hash_of_the_card_guards_against_tampering(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    digest = save_folder(folder, {"name": "ridge"}, {"a.bin": b"1234"})
    assert load_folder(folder, expected_sha256=digest.upper())[0]["name"] == "ridge"
    # A forger who changes a part and its hash in the card is not caught without it.
    (folder / "a.bin").write_bytes(b"forged")
    change_card(folder, sha256={"a.bin": hashlib.sha256(b"forged").hexdigest()})
    assert load_folder(folder)[1] == {"a.bin": b"forged"}
    with pytest.raises(CheckpointError, match="not the one expected"):
        load_folder(folder, expected_sha256=digest)


KILLED = """
import os, sys
from pathlib import Path
import medmeta.storage as storage

def die(descriptor):
    os._exit(9)

folder = Path(sys.argv[1])
os.fsync = die
if sys.argv[2] == "file":
    storage.write_bytes(folder / "state.json", b"{}")
else:
    storage.save_folder(folder / "model", {}, {"a.bin": b"1"})
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_process_left_is_removed(tmp_path: Path, what: str) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), what]
    assert subprocess.run(command, check=False).returncode == 9
    leftovers = list(tmp_path.iterdir())
    assert len(leftovers) == 1
    assert leftovers[0].is_dir() == (what == "folder")
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_user_s_is_removed(saved: Path) -> None:
    run = saved.parent
    (run / ".git").mkdir()
    (run / ".git" / "config").write_text("kept", "utf-8")
    (run / ".ipynb_checkpoints").mkdir()
    for name in (".notes", ".mine.tmp", "table.tmp", ".model.backup", "x.medmeta-unfinished"):
        (run / name).write_text("kept", "utf-8")
    before = sorted(run.rglob("*"))
    remove_leftovers(run)
    assert sorted(run.rglob("*")) == before


def test_a_link_is_removed_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".model.medmeta-unfinished").symlink_to(tmp_path / "kept")
    remove_leftovers(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    assert (tmp_path / "kept" / "file").exists()


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "none")


@pytest.mark.parametrize("change", [{"name": "maml"}, {SEAL: "0" * 64}, {SEAL: None}])
def test_a_changed_card_is_refused(saved: Path, change: dict[str, Any]) -> None:
    card = json.loads((saved / CARD).read_text("utf-8"))
    (saved / CARD).write_text(json.dumps({**card, **change}), "utf-8")
    with pytest.raises(CheckpointError, match="its own SHA-256 differs"):
        load_folder(saved)
