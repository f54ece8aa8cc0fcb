"""A catalogued set from its publisher's to a folder: which file, which hash, which licence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmeta.data.catalogue import PUBLISHER, CataloguedSet, RemoteFile
from medmeta.data.download import MAX_BYTES, Downloaded, download
from medmeta.data.transfer import TIMEOUT, BrokenOffError, Server
from medmeta.errors import DataError


@dataclass(frozen=True)
class Publication:
    """One file of a set at its publisher's, or at a mirror of it."""

    found: CataloguedSet
    file: RemoteFile
    server: Server

    @classmethod
    def of(
        cls,
        found: CataloguedSet,
        *,
        size: int | None = None,
        mirror: str | None = None,
        timeout: float = TIMEOUT,
    ) -> Publication:
        """The file of a size; ``mirror`` stands for ``https://zenodo.org``, paths being the same.

        Raises ``SettingsError`` for a size that there is not, or a mirror that is not https.
        """
        return cls(found, found.file_of(size), Server(mirror or PUBLISHER, timeout=timeout))

    @property
    def address(self) -> str:
        """Where it comes from."""
        return self.server.base + self.file.path(self.found.collection.record)

    def notice(self) -> str:
        """Licence, origin and what to cite, to be shown before and kept beside the file."""
        collection = self.found.collection
        whole = f"{self.found.title}: {self.found.what}."
        lines = [
            f"{whole} From {collection.title}, {collection.version}.",
            f"Licence: {self.found.licence}, as its publisher states it.",
            f"Cite: {collection.cite[0]}",
            *(f"      {reference}" for reference in collection.cite[1:]),
            collection.note,
            f"{collection.homepage}  {self.address}",
        ]
        return "\n".join(lines) + "\n"

    def published_md5(self) -> str:
        """The hash in the catalogue, else the one that the publisher's record states now.

        Raises ``DataError`` where the record has no such file.
        """
        if self.file.md5 is not None:
            return self.file.md5
        record = self.found.collection.record
        try:
            stated = _hashes(self.server.text(f"/api/records/{record}"))
        except BrokenOffError as error:
            raise DataError(
                f"the hash of {self.file.file} is in its record at {self.server.name}, and that "
                f"cannot be read: {error}. Try again later; without it nothing is downloaded."
            ) from None
        if self.file.file not in stated:
            there = ", ".join(sorted(stated)[:40]) or "none that can be read"
            raise DataError(
                f"record {record} at {self.server.name} has no hash of {self.file.file}; its files "
                f"are {there}."
            )
        return stated[self.file.file]

    def download(
        self,
        folder: Path,
        *,
        max_bytes: int = MAX_BYTES,
        progress: Callable[[int, int], None] = lambda there, total: None,
    ) -> Downloaded:
        """Bring it into a folder; see ``medmeta.data.download``."""
        return download(
            self.server,
            self.file.path(self.found.collection.record),
            folder / self.file.file,
            md5=self.published_md5(),
            notice=self.notice(),
            max_bytes=max_bytes,
            progress=progress,
        )


def _hashes(content: bytes) -> dict[str, str]:
    """The MD5 of each file of a record, from Zenodo's JSON.

    >>> _hashes(b'{"files": [{"key": "a.zip", "checksum": "md5:%s"}]}' % (b"0" * 32))
    {'a.zip': '00000000000000000000000000000000'}
    """
    try:
        record: Any = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    files = record.get("files") if isinstance(record, dict) else None
    found = {}
    for file in files if isinstance(files, list) else []:
        if not isinstance(file, dict):
            continue
        name, stated = file.get("key"), str(file.get("checksum") or "")
        if isinstance(name, str) and re.fullmatch(r"md5:[0-9a-f]{32}", stated):
            found[name] = stated.removeprefix("md5:")
    return found
