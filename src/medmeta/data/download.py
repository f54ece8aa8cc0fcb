"""Downloading a published file: resumed where it broke off, compared with its hash, or not there.

The licence and what to cite are written beside it, and its SHA-256.
"""

from __future__ import annotations

import http.client
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medmeta.data.partial import Partial, hashes_of
from medmeta.data.transfer import BrokenOffError, Server, reason
from medmeta.errors import DataError, StorageError
from medmeta.storage import write_bytes

MAX_BYTES = 20_000_000_000
_BLOCK = 1 << 18
_TRIES = 5
_KEPT_FREE = 64_000_000  # bytes of the disk


@dataclass(frozen=True)
class Downloaded:
    """A file that is wholly there: its hashes, and how many bytes came over the network now."""

    path: Path
    size: int
    md5: str
    sha256: str
    received: int


def download(
    server: Server,
    path: str,
    target: Path,
    *,
    md5: str,
    notice: str,
    max_bytes: int = MAX_BYTES,
    progress: Callable[[int, int], None] = lambda there, total: None,
    pause: Callable[[float], None] = time.sleep,
) -> Downloaded:
    """Download ``path`` from a server to ``target``, which appears only when all of it is right.

    What arrived before a broken connection or Ctrl-C is kept, and the same call goes on there. A
    file whose ``md5`` is not the published one is removed. ``notice`` (licence and citation) goes
    to ``NAME.licence.txt``, the hash to ``NAME.sha256``. ``progress`` is called with the bytes
    there and the bytes in all (0 where the server does not say). Raises ``DataError``,
    ``StorageError``.
    """
    if target.exists():
        return _already_there(target, md5, notice)
    partial = Partial(target)
    with partial.opened(md5):
        arrival = _Arrival(server, path, partial, md5, max_bytes, progress, pause)
        resumed = partial.size > 0
        arrival.fetch()
        if resumed and partial.digests()[0] != md5:  # of two versions, perhaps
            partial.restart()
            arrival.fetch()
        found, sha256 = partial.digests()
        if found != md5:
            partial.remove()
            raise DataError(
                f"{target.name} as {server.name} sent it is not the published file (its MD5 is "
                f"{found}, the published one {md5}) and was removed. Try again; if it stays so, "
                "it was changed at its publisher's or on the way, and must not be used."
            )
        partial.flush()
    _write_beside(target, sha256, notice)
    partial.become(target)
    return Downloaded(target, partial.size, md5, sha256, arrival.received)


@dataclass
class _Arrival:
    """One file on its way, over as many connections as it takes."""

    server: Server
    path: str
    partial: Partial
    md5: str
    max_bytes: int
    progress: Callable[[int, int], None]
    pause: Callable[[float], None]
    received: int = 0

    def fetch(self) -> None:
        """Ask until everything is there; a try that brought something on does not count."""
        failed = 0
        while True:
            before = self.partial.size
            try:
                self._once()
                return
            except BrokenOffError as error:
                failed = 0 if self.partial.size > before else failed + 1
                if failed >= _TRIES or (failed and not error.reached and not self.received):
                    raise DataError(self._given_up(error)) from None
                self.pause(error.wait if error.wait is not None else 0.5 * 2**failed)

    def _once(self) -> None:
        """One connection, from where the last one ended."""
        partial, headers = self.partial, {}
        if partial.size:
            headers["Range"] = f"bytes={partial.size}-"
            if partial.validator:
                headers["If-Range"] = partial.validator
        with self.server.ask(self.path, headers) as answer:
            if answer.status == 416 and _length(answer) == partial.size:
                return  # all of it came before
            total = self._begun(answer)
            self._check_size(total)
            partial.note(self.md5, _validator(answer))
            while block := _read(answer):
                partial.add(block)
                self.received += len(block)
                self._check_size(partial.size)
                self.progress(partial.size, total)
        if total and partial.size != total:
            raise BrokenOffError("the connection was closed before the end")

    def _begun(self, answer: http.client.HTTPResponse) -> int:
        """Bring the part and the answer to the same byte; returns the bytes in all, or 0."""
        if (answer.headers.get("Content-Encoding") or "identity") != "identity":
            raise DataError(f"{self.server.name} sent the file packed, which was not asked for.")
        if answer.status == 206 and _first_byte(answer) == self.partial.size:
            return _length(answer)
        if answer.status == 200:  # no ranges there, or another version of the file by now
            self.partial.restart()
            return int(answer.headers.get("Content-Length") or 0)
        self.partial.restart()
        raise BrokenOffError("the server sent another part than was asked for", wait=0.0)

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            self.partial.remove()
            raise DataError(
                f"{self.server.name} has a file of {size / 1e9:.3g} GB or more, beyond "
                f"the limit of {self.max_bytes / 1e9:g} GB; --max-gb raises it."
            )
        folder, missing = self.partial.path.parent, size - self.partial.size
        free = shutil.disk_usage(folder).free
        if missing > free - _KEPT_FREE:
            raise StorageError(
                f"{folder}: the file needs {missing / 1e9:.2g} GB more and the disk has "
                f"{free / 1e9:.2g} GB left; free some space or choose another folder with --out."
            )

    def _given_up(self, error: BrokenOffError) -> str:
        kept = f"{self.partial.size / 1e6:.1f} MB are kept; " if self.partial.size else ""
        if not error.reached and not self.received:
            return (
                f"there is no way to {error}. {kept}the same command goes on when there is a "
                "network; without one, bring the file by hand."
            )
        return f"{error}; given up after {_TRIES} tries. {kept}the same command goes on there."


def _read(answer: http.client.HTTPResponse) -> bytes:
    """What has arrived, a block at most; empty at the end."""
    try:
        return answer.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOffError(f"the connection broke off ({reason(error)})") from None


def _length(answer: http.client.HTTPResponse) -> int:
    """Bytes in all, from ``Content-Range: bytes 5-9/10`` or ``bytes */10``; 0 where not said."""
    found = re.fullmatch(r"bytes .*/(\d+)", answer.headers.get("Content-Range") or "")
    return int(found[1]) if found else 0


def _first_byte(answer: http.client.HTTPResponse) -> int:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
    return int(found[1]) if found else -1


def _validator(answer: http.client.HTTPResponse) -> str:
    """What the server knows this version by; a weak one cannot be asked ranges of (RFC 9110)."""
    tag = answer.headers.get("ETag") or ""
    return "" if tag.startswith("W/") else tag


def _already_there(target: Path, md5: str, notice: str) -> Downloaded:
    if not target.is_file():
        raise StorageError(f"{target} is there already and is no file; choose another place.")
    found, sha256 = hashes_of(target)
    if found != md5:
        raise StorageError(
            f"{target} is there already and is not the published file (its MD5 is {found}, the "
            f"published one {md5}); move it away or choose another folder with --out."
        )
    _write_beside(target, sha256, notice)
    return Downloaded(target, target.stat().st_size, md5, sha256, 0)


def _write_beside(target: Path, sha256: str, notice: str) -> None:
    write_bytes(target.with_name(f"{target.name}.licence.txt"), notice.encode())
    write_bytes(target.with_name(f"{target.name}.sha256"), f"{sha256}  {target.name}\n".encode())
