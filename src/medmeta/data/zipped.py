"""A zip of medical files, unpacked within bounds into a folder that is gone when the program ends.

What is unpacked holds identifiers, so it never goes to a cache.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medmeta.errors import DataError

_BLOCK = 1_000_000
_SMALL = 10_000_000  # a member below it may be packed as tightly as it likes
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError),
    *(RuntimeError, OverflowError, MemoryError),
)
_folders: dict[tuple[str, int, int], Path] = {}


@dataclass(frozen=True)
class ZipLimits:
    """What is refused: members, bytes of all and of one unpacked, and how tightly one is packed."""

    members: int = 200_000
    all_bytes: int = 20_000_000_000
    member_bytes: int = 1_000_000_000
    ratio: int = 200


_DEFAULT = ZipLimits()


def unpacked(path: Path, limits: ZipLimits = _DEFAULT) -> Path:
    """The folder that a zip's files were unpacked into; the same zip is unpacked once.

    Raises ``DataError`` for paths that climb out, links, passwords, bombs and damage; nothing is
    left behind then. Zips within the zip stay packed.
    """
    try:
        status = path.stat()
        key = (str(path.resolve()), status.st_mtime_ns, status.st_size)
        if key in _folders and _folders[key].is_dir():
            return _folders[key]
        folder = Path(tempfile.mkdtemp(prefix="medmeta-"))
    except OSError as error:
        raise DataError(f"{path}: cannot be unpacked ({error.strerror}).") from None
    try:
        with zipfile.ZipFile(path) as archive:
            _extract(path, archive, folder, limits)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DataError):
            raise
        if isinstance(error, OSError):
            raise DataError(f"{path}: cannot be unpacked ({error.strerror}).") from None
        if isinstance(error, _DAMAGE):
            raise DataError(f"{path}: is no zip, or is damaged; copy it again.") from error
        raise
    _folders[key] = folder
    return folder


def _extract(path: Path, archive: zipfile.ZipFile, folder: Path, limits: ZipLimits) -> None:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > limits.members:
        raise DataError(f"{path}: has more than {limits.members:,} files; unpack it yourself.")
    left = limits.all_bytes
    for number, member in enumerate(members):
        where = f"{path}: file {number + 1} of it"
        parts = _parts(where, member)
        if member.flag_bits & 1:
            raise DataError(f"{where} needs a password; unpack it yourself.")
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        left -= _write(where, archive, member, target, min(left, limits.member_bytes), limits)


def _parts(where: str, member: zipfile.ZipInfo) -> tuple[str, ...]:
    """Where it goes below the folder; refuses what would go elsewhere."""
    name = member.filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or any(":" in part for part in parts) or not parts:
        raise DataError(f"{where} has a path that climbs out of the archive; it may be an attack.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"{where} is a link; pack the file itself.")
    return parts


def _write(
    where: str,
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    target: Path,
    most: int,
    limits: ZipLimits,
) -> int:
    """Bytes written; counted while unpacking, since what a zip declares may be wrong."""
    written = 0
    tight = max(_SMALL, limits.ratio * member.compress_size)
    with archive.open(member) as packed, target.open("xb") as file:
        while block := packed.read(_BLOCK):
            written += len(block)
            if written > min(most, tight):
                raise DataError(f"{where} unpacks to more than is allowed; unpack it yourself.")
            file.write(block)
    return written


@atexit.register
def _remove() -> None:
    for folder in _folders.values():
        with contextlib.suppress(OSError):
            shutil.rmtree(folder, ignore_errors=True)
    _folders.clear()


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip does (an npz, which is one too, goes by its suffix)."""
    if path.suffix.lower() == ".npz" or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def in_unpacked(path: Path) -> bool:
    """Whether a file lies in a folder that was unpacked, whose name nobody would know."""
    return any(os.fspath(path).startswith(os.fspath(folder)) for folder in _folders.values())
