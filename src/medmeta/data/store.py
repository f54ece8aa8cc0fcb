"""Pictures decoded once: a folder of memory-mapped arrays in the user's cache.

It holds pixels, content hashes and, by row, why a picture could not be read: no name of a file or
of a patient. A store is written under a temporary name and renamed, so it is whole or not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.preprocess import Preprocessing
from medmeta.errors import StorageError

_FORMAT_VERSION = 3  # of the pixels too: one more wherever files come to be read otherwise
_REPORTED = 64


@dataclass(frozen=True)
class Decoded:
    """One prepared picture ``(C, size, size)``, or volume ``(C, D, size, size)``, with its hash.

    The hash is of its content; or there is none, and a reason.
    """

    pixels: NDArray[Any] | None
    content: int = 0
    reason: str = ""


Decode = Callable[[Sequence[int]], Generator[Decoded, None, None]]
"""Decodes some rows, ascending, one after the other; what cannot be read is no exception."""


@dataclass(frozen=True)
class Store:
    """``pixels`` ``(n, C, [D,] size, size)`` and ``hashes`` ``(n,)``; ``bad`` says why by row.

    Rows in ``bad`` are black. ``in_memory`` where the cache would not take it.
    """

    pixels: NDArray[Any]
    hashes: NDArray[np.uint64]
    bad: dict[int, str]
    in_memory: bool = False


def default_cache() -> Path:
    """``$MEDMETA_CACHE``, or ``~/.cache/medmeta``."""
    given = os.environ.get("MEDMETA_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "medmeta"


def store_key(
    files: Sequence[Path], preprocessing: Preprocessing, *, chosen: Sequence[object] = ()
) -> str:
    """A digest of what a store is made from: paths, sizes, times of change, preprocessing.

    A file that has gone meanwhile counts with its name alone. ``chosen``: which slices, where the
    preprocessing does not say.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{_FORMAT_VERSION} {preprocessing.model_dump_json()}\n".encode())
    if chosen:
        digest.update(f"{tuple(chosen)}\n".encode())
    for file in files:
        digest.update(os.fsencode(file) + b"\0")
        try:
            status = file.stat()
        except OSError:
            continue
        digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def open_store(
    key: str,
    n: int,
    preprocessing: Preprocessing,
    decode: Decode,
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """The store called ``key`` with ``n`` pictures, decoded now where it is missing or damaged.

    ``progress`` is called with the pictures done and ``n``. Falls back to memory where the cache
    folder may not be written; raises ``StorageError`` where the disk is full.
    """
    cache = default_cache() if cache is None else cache
    shape = (n, *preprocessing.shape)
    found = _load(cache / key, shape, preprocessing.dtype)
    if found is not None:
        if not _any_mended(found, decode):
            return found
        shutil.rmtree(cache / key, ignore_errors=True)
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
    except OSError:
        with closing(_decoded(n, decode, progress)) as pictures:
            return _in_memory(shape, preprocessing.dtype, pictures)
    try:
        with closing(_decoded(n, decode, progress)) as pictures:
            _write(temporary, shape, preprocessing.dtype, pictures)
        _publish(temporary, cache / key, shape, preprocessing.dtype)
    except OSError as error:
        raise StorageError(
            f"the cache {cache} would not take the decoded images ({error.strerror or error}); "
            "make room, or name another folder with MEDMETA_CACHE."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    written = _load(cache / key, shape, preprocessing.dtype)
    if written is None:
        raise StorageError(
            f"the cache {cache} does not give back what was written; check the disk."
        )
    return written


def _any_mended(store: Store, decode: Decode) -> bool:
    """Whether a picture that could not be read can be now (a right was given, a disk is back)."""
    if not store.bad:
        return False
    with closing(decode(sorted(store.bad))) as pictures:
        return any(picture.pixels is not None for picture in pictures)


def _decoded(
    n: int, decode: Decode, progress: Callable[[int, int], None] | None
) -> Generator[Decoded, None, None]:
    with closing(decode(range(n))) as pictures:
        for done, picture in enumerate(pictures, start=1):
            yield picture
            if progress is not None and (done % _REPORTED == 0 or done == n):
                progress(done, n)


def _in_memory(shape: tuple[int, ...], dtype: np.dtype[Any], pictures: Iterable[Decoded]) -> Store:
    pixels = np.zeros(shape, dtype)
    hashes = np.zeros(shape[0], dtype=np.uint64)
    bad: dict[int, str] = {}
    for row, picture in enumerate(pictures):
        if picture.pixels is None:
            bad[row] = picture.reason
        else:
            pixels[row], hashes[row] = picture.pixels, picture.content
    return Store(pixels, hashes, bad, in_memory=True)


def _write(
    folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], pictures: Iterable[Decoded]
) -> None:
    """Write a store bit by bit: plain writes, for a full disk kills a process that maps."""
    hashes = np.zeros(shape[0], dtype=np.uint64)
    black = np.zeros(shape[1:], dtype)
    bad: list[dict[str, Any]] = []
    with (folder / "pixels.npy").open("wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for row, picture in enumerate(pictures):
            file.write((black if picture.pixels is None else picture.pixels).data)
            hashes[row] = picture.content
            if picture.pixels is None:
                bad.append({"row": row, "reason": picture.reason})
        _sync(file)
    with (folder / "hashes.npy").open("wb") as file:
        np.lib.format.write_array(file, hashes, allow_pickle=False)
        _sync(file)
    with (folder / "problems.json").open("wb") as file:
        file.write(json.dumps(bad).encode())
        _sync(file)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(temporary: Path, folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Give the finished store its name; where another process was first, keep theirs."""
    try:
        temporary.rename(folder)
    except OSError:
        if _load(folder, shape, dtype) is not None:
            return
        shutil.rmtree(folder, ignore_errors=True)  # damaged
        temporary.rename(folder)


def _load(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Store | None:
    """The store in a folder, or None where it is missing or not what it should be."""
    try:
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        hashes = np.load(folder / "hashes.npy", allow_pickle=False)
        listed = json.loads((folder / "problems.json").read_bytes())
        bad = {int(p["row"]): str(p["reason"]) for p in listed}
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None
    right = pixels.shape == shape and pixels.dtype == dtype and pixels.flags.c_contiguous
    right = right and hashes.shape == shape[:1] and hashes.dtype == np.uint64
    return Store(pixels, hashes, bad) if right and all(0 <= r < shape[0] for r in bad) else None
