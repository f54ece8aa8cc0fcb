"""The arrays of an npz: measured by their headers, small ones read, pictures read in order."""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medmeta.errors import DataError

MAX_ARCHIVE_BYTES = 8_000_000_000
_BLOCK_BYTES = 1_000_000
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    SyntaxError,
    MemoryError,
    OverflowError,
    tokenize.TokenError,  # of an array's header, which NumPy parses as Python
)


@dataclass(frozen=True)
class Header:
    """What an array says of itself; ``start`` is the byte at which its values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An npz; whatever is found to be wrong with it inside the block is a ``DataError``."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGE as error:
        raise DataError(f"{path}: is no npz, or is damaged ({error}); copy it again.") from error


class Arrays:
    """The arrays of an npz, measured by their headers before any is read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self.headers: dict[str, Header] = {}
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    self.headers[name[:-4]] = _header(file)

    def checked(self, name: str) -> Header:
        """The header of an array, its declared size held against its true one."""
        header = self.headers[name]
        declared = math.prod(header.shape) * header.dtype.itemsize
        if header.dtype.hasobject:
            raise DataError(f"{self.path}: {name} holds Python objects, which are not read.")
        if declared != self._archive.getinfo(f"{name}.npy").file_size - header.start:
            raise DataError(f"{self.path}: {name} is not as long as it says; copy it again.")
        return header

    def read(self, name: str) -> NDArray[Any]:
        """One array."""
        self.checked(name)
        with self._archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def blocks(self, name: str) -> Iterator[NDArray[Any]]:
        """The rows of one array in order, about a megabyte at a time."""
        header = self.checked(name)
        if header.fortran:  # its rows do not lie together
            yield self.read(name)
            return
        n, *row = header.shape
        row_bytes = math.prod(row) * header.dtype.itemsize
        block = max(1, _BLOCK_BYTES // row_bytes)
        with self._archive.open(f"{name}.npy") as file:
            file.read(header.start)
            for first in range(0, n, block):
                rows = min(block, n - first)
                values = np.frombuffer(file.read(rows * row_bytes), header.dtype)
                yield values.reshape(rows, *row)

    def check_size(self, names: Sequence[str]) -> None:
        """Raise ``DataError`` where these arrays together are beyond the limit."""
        total = sum(self._archive.getinfo(f"{name}.npy").file_size for name in names)
        if total > MAX_ARCHIVE_BYTES:
            raise DataError(
                f"{self.path}: would need {total / 1e9:.1f} GB of memory, more than the "
                f"{MAX_ARCHIVE_BYTES / 1e9:g} GB that are read; save the pictures as files."
            )


@dataclass(frozen=True)
class Pictures:
    """Arrays of pictures in an npz, one after the other; they are read when they are gone through.

    Each part is an array's name and header: uint8 ``(n, H, W)``, ``(n, H, W, 1)`` or
    ``(n, H, W, 3)``, the same but for ``n``; or ``(n, D, H, W)``, volumes of ``depth`` slices,
    whose slices are the pictures.
    """

    path: Path
    parts: tuple[tuple[str, Header], ...]

    @property
    def depth(self) -> int:
        """Slices of a volume; 0 where there are none."""
        shape = self.parts[0][1].shape if self.parts else ()
        return shape[1] if len(shape) == 4 and shape[3] not in (1, 3) else 0

    def __len__(self) -> int:
        return sum(header.shape[0] for _, header in self.parts) * max(1, self.depth)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Pictures ``(H, W)`` or ``(H, W, 3)``, about a megabyte of them in memory at a time.

        Raises ``DataError`` where the file is damaged, or is no longer the one that was listed.
        """
        with opened(self.path) as archive:
            arrays = Arrays(self.path, archive)
            for name, header in self.parts:
                if arrays.headers.get(name) != header:
                    raise DataError(f"{self.path}: {name} has changed meanwhile; start again.")
                for block in arrays.blocks(name):
                    if self.depth:
                        yield from block.reshape(-1, *block.shape[2:])
                    else:
                        yield from block[..., 0] if block.shape[3:] == (1,) else block


def _header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"npy version {version}")
    return Header(shape, dtype, fortran, file.tell())
