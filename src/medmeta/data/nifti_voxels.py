"""The voxels of a NIfTI file, a few megabytes at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.nifti_header import MAX_BYTES, NiftiHeader, library, opened, why_damaged
from medmeta.errors import UnreadableImageError

_BLOCK_BYTES = 4_000_000


def check_time(header: NiftiHeader, time_point: int) -> None:
    """Raise ``UnreadableImageError`` where there is no such volume, or it lies too far in."""
    if not 1 <= time_point <= header.times:
        has = "1 volume" if header.times == 1 else f"{header.times} volumes"
        raise UnreadableImageError(
            f"has {has}, so there is no number {time_point}; name another with --time-point."
        )
    volume = math.prod(header.shape) * header.dtype.itemsize
    if header.body.name.lower().endswith(".gz") and time_point * volume > MAX_BYTES:
        raise UnreadableImageError(
            f"would have to be unpacked for {time_point * volume / 1e9:.1f} GB up to volume "
            f"{time_point}; unpack it first, or save that volume by itself."
        )


def blocks(
    header: NiftiHeader, time_point: int, wanted: set[int] | None
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Parts ``(X, Y, k)`` of a volume in the file's order, a few MB each; or some slices only."""
    x, y, z = header.shape
    step = 1
    if wanted is None:
        step = max(1, _BLOCK_BYTES // (x * y * header.dtype.itemsize))
    firsts = range(0, z, step) if wanted is None else sorted(wanted)
    with opened(header.body) as file:
        for first in firsts:
            block = _block(file, header, time_point, slice(first, min(first + step, z)))
            yield first, _planes(block) if header.dtype.names else block


def _block(file: IO[bytes], header: NiftiHeader, time_point: int, part: slice) -> NDArray[Any]:
    """Some slices along the file's last axis ``(X, Y, k)``, scaled by nibabel."""
    start = header.offset + (time_point - 1) * int(np.prod(header.shape)) * header.dtype.itemsize
    spec = (header.shape, header.dtype, start, header.slope, header.inter)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(library().arrayproxy.ArrayProxy(file, spec, mmap=False)[:, :, part])
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise almost anything
        raise UnreadableImageError(why_damaged(error)) from error


def _planes(block: NDArray[Any]) -> NDArray[np.uint8]:
    """Colour voxels as ``(X, Y, k, 3)``."""
    return np.stack([block[name] for name in ("R", "G", "B")], axis=-1)
