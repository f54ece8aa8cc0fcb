"""Rows of a large array in a file, read so that no more of the file stays in memory."""

from __future__ import annotations

import mmap
from io import FileIO
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAPPED_BYTES = 2**27


def take_rows(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Some rows ``(k, ...)`` of an array ``(n, ...)``, copied.

    A memory map beyond 128 MB is passed by, and its file read: pages that are touched stay
    resident, and reading takes half the time from the system's cache, and far less from a disk.
    """
    if isinstance(array, np.memmap) and array.nbytes > MAPPED_BYTES and len(rows):
        found = np.empty((len(rows), *array.shape[1:]), dtype=array.dtype)
        if _read(array, rows, found):
            return found
    return np.asarray(array).take(rows, axis=0)  # a memory map's class would cost on every call


def _read(array: np.memmap, rows: NDArray[np.int64], into: NDArray[Any]) -> bool:
    """Read rows from a map's file; False where that may not be, or where the file is gone.

    It may not be for part of a map, which has the offset of the whole, and for one that can be
    written to, which may differ from its file.
    """
    flags = array.flags
    whole = isinstance(array.base, mmap.mmap) and flags.c_contiguous and not flags.writeable
    if not whole or array.filename is None:
        return False
    row_bytes = array.nbytes // len(array)
    ends = np.flatnonzero(np.diff(rows) != 1) + 1  # rows that follow each other are read at once
    try:
        with FileIO(array.filename) as file:
            for first, last in pairwise([0, *ends.tolist(), len(rows)]):
                file.seek(array.offset + int(rows[first]) * row_bytes)
                if file.readinto(into[first:last].data) != (last - first) * row_bytes:
                    return False
    except OSError:
        return False
    return True
