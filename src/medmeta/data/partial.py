"""A file that is still arriving: what is there of it, and going on where it broke off."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from medmeta.errors import StorageError
from medmeta.storage import explained_disk_errors, write_json

_CHUNK = 1 << 20


class Partial:
    """What has arrived of a file, beside its final place, with the hashes of it so far.

    ``.NAME.part`` holds the bytes and ``.NAME.part.json`` what they are part of. One process at a
    time has it: another one is refused with ``StorageError``.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self._about = target.with_name(f".{target.name}.part.json")
        self.size = 0
        self.validator = ""
        self._file: FileIO | None = None
        self._unwanted = False
        self._restart_hashes()

    @contextlib.contextmanager
    def opened(self, part_of: str) -> Iterator[None]:
        """Hold the file open; what is there of ``part_of`` (a hash) is kept, all else begins anew.

        Without a hash nothing could tell whether the bytes belong together, so none are kept.
        """
        with explained_disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("r+b" if self.path.exists() else "w+b", buffering=0)
        with contextlib.ExitStack() as ending:
            ending.callback(self._closed)
            ending.enter_context(file)
            _lock(file, self.path)
            self._file = file
            about = _noted(self._about)
            if part_of and about.get("part_of") == part_of:
                self.validator = about.get("validator", "")
                self._hash_what_is_there(file)
            else:
                self.restart()
            yield

    def note(self, part_of: str, validator: str) -> None:
        """Write down what the bytes are part of, and how the server knows this version of it."""
        if (part_of, validator) != (_noted(self._about).get("part_of"), self.validator):
            write_json(self._about, {"part_of": part_of, "validator": validator})
        self.validator = validator

    def restart(self) -> None:
        """Throw away what is there."""
        assert self._file is not None
        with explained_disk_errors(self.path):
            self._file.seek(0)
            self._file.truncate()
        self.size = 0
        self.validator = ""
        self._restart_hashes()

    def add(self, block: bytes) -> None:
        """Append a block; raises ``StorageError`` where the disk is full."""
        assert self._file is not None
        with explained_disk_errors(self.path):
            rest = memoryview(block)
            while rest:
                rest = rest[self._file.write(rest) :]
        self.size += len(block)
        self._md5.update(block)
        self._sha256.update(block)

    def flush(self) -> None:
        """Bring everything to the disk."""
        assert self._file is not None
        with explained_disk_errors(self.path):
            os.fsync(self._file.fileno())

    def digests(self) -> tuple[str, str]:
        """MD5 and SHA-256 of what is there."""
        return self._md5.hexdigest(), self._sha256.hexdigest()

    def remove(self) -> None:
        """Nothing of it is left, once it is closed."""
        self._unwanted = True

    def become(self, target: Path) -> None:
        """The whole file takes its place."""
        with explained_disk_errors(target):
            os.replace(self.path, target)
            self._about.unlink(missing_ok=True)

    def _closed(self) -> None:
        held, self._file = self._file is not None, None
        if held and (self._unwanted or not self.size):
            self.path.unlink(missing_ok=True)
            self._about.unlink(missing_ok=True)

    def _hash_what_is_there(self, file: FileIO) -> None:
        file.seek(0)
        self.size = 0
        self._restart_hashes()
        while block := file.read(_CHUNK):
            self.size += len(block)
            self._md5.update(block)
            self._sha256.update(block)

    def _restart_hashes(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)  # what publishers publish; SHA-256 is ours
        self._sha256 = hashlib.sha256()


def hashes_of(path: Path) -> tuple[str, str]:
    """MD5 and SHA-256 of a file."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            md5.update(block)
            sha256.update(block)
    return md5.hexdigest(), sha256.hexdigest()


def _noted(path: Path) -> dict[str, str]:
    """What was written of a part; nothing where that is damaged or not there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(v, str) for v in found.values())
    return found if whole else {}


def _lock(file: FileIO, path: Path) -> None:
    """Two processes that append to one file would spoil it."""
    try:
        import fcntl
    except ImportError:  # Windows, where this is left to the user
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StorageError(
            f"{path}: another download is writing this file now; wait until it has ended."
        ) from None
