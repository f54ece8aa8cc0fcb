"""Samples of WFDB records in the formats that ECGs come in; only what is asked for is read.

Formats are those of signal(5) of the WFDB Applications Guide (Moody, PhysioNet).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.recording import Recording, Span, in_millivolts, middle_span
from medmeta.data.wfdb_header import WfdbHeader, WfdbSignal
from medmeta.errors import UnreadableImageError

_MOST_VALUES = 50_000_000


@dataclass(frozen=True)
class _Format:
    """``samples`` together take ``size`` bytes; ``unknown`` is the value of one not known."""

    samples: int
    size: int
    unknown: int
    decode: Callable[[NDArray[np.uint8]], NDArray[Any]]


def _of_12_bits(raw: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Pairs of samples in three bytes; the middle one holds the high bits of both."""
    low, both, high = raw.reshape(-1, 3).astype(np.int32).T
    pairs = np.stack([low | (both & 0x0F) << 8, high | (both & 0xF0) << 4], axis=1).reshape(-1)
    return np.asarray(pairs - ((pairs & 0x800) << 1), dtype=np.int32)


def _of_24_bits(raw: NDArray[np.uint8]) -> NDArray[np.int32]:
    low, middle, high = raw.reshape(-1, 3).astype(np.int32).T
    values = low | middle << 8 | high << 16
    return np.asarray(values - ((values & 0x800000) << 1), dtype=np.int32)


_FORMATS = {
    16: _Format(1, 2, -(2**15), lambda raw: raw.view("<i2")),
    24: _Format(1, 3, -(2**23), _of_24_bits),
    32: _Format(1, 4, -(2**31), lambda raw: raw.view("<i4")),
    61: _Format(1, 2, -(2**15), lambda raw: raw.view(">i2")),
    80: _Format(1, 1, -(2**7), lambda raw: raw.astype(np.int16) - 128),
    212: _Format(2, 3, -(2**11), _of_12_bits),
}


def sample_files(path: Path, header: WfdbHeader) -> tuple[Path, ...]:
    """The header and the files that its samples lie in."""
    names = dict.fromkeys(signal.file for signal in header.signals)
    return (path, *(path.parent / name for name in names))


def read_samples(path: Path, header: WfdbHeader, seconds: float) -> Recording:
    """The middle of a record, so many seconds of it.

    Raises ``UnreadableImageError`` with the reason alone: a file that is missing or cut short, or
    a format that is not read.
    """
    n, groups = _samples(path, header)
    span = middle_span(n, header.rate, seconds)
    if span.count * len(header.signals) > _MOST_VALUES:
        raise UnreadableImageError("has too many samples in that time; ask for fewer --samples.")
    values = [_read(path.parent / signals[0].file, signals, span) for signals in groups]
    leads = tuple(signal.name for signal in header.signals)
    return Recording(leads, header.rate, np.concatenate(values))


def _samples(path: Path, header: WfdbHeader) -> tuple[int, list[list[WfdbSignal]]]:
    """How many samples each lead has, and leads by the file that they lie in."""
    groups = [list(found) for _, found in groupby(header.signals, key=lambda s: s.file)]
    counts = [_in_file(path.parent / signals[0].file, signals) for signals in groups]
    n = header.samples or min(counts)
    if min(counts) < n:
        raise UnreadableImageError(
            f"is cut short: its file of samples holds {min(counts)} of {n} samples of each lead; "
            "copy the record again."
        )
    return n, groups


def _in_file(file: Path, signals: list[WfdbSignal]) -> int:
    """Samples of each lead that a file is long enough for."""
    codes, offsets = {s.code for s in signals}, {s.offset for s in signals}
    if len(codes) > 1 or len(offsets) > 1:
        raise UnreadableImageError("has leads of several formats in one file, which cannot be.")
    form = _FORMATS.get(signals[0].code)
    if form is None:
        known = ", ".join(map(str, _FORMATS))
        raise UnreadableImageError(
            f"has samples in format {signals[0].code}, which is not read; read are {known}. Write "
            "it in format 16 (WFDB's xform)."
        )
    try:
        size = file.stat().st_size - signals[0].offset
    except OSError:
        raise UnreadableImageError(
            "lacks its file of samples (.dat), which belongs beside the header."
        ) from None
    return max(0, size * form.samples // form.size) // len(signals)


def _read(file: Path, signals: list[WfdbSignal], span: Span) -> NDArray[np.float32]:
    """``(leads, samples)`` of the leads of one file, which has a sample of each in turn."""
    form, k = _FORMATS[signals[0].code], len(signals)
    first, last = span.first * k, (span.first + span.count) * k
    begin, end = first // form.samples, -(-last // form.samples)
    length = (end - begin) * form.size
    try:
        with file.open("rb") as opened:
            opened.seek(signals[0].offset + begin * form.size)
            content = opened.read(length)
    except OSError as error:
        raise UnreadableImageError(f"cannot be read ({error.strerror}).") from None
    missing = length - len(content)
    if missing >= form.size:
        raise UnreadableImageError("is cut short while it is read; copy the record again.")
    content += bytes(missing)  # the half of a last pair that is not there
    numbers = form.decode(np.frombuffer(content, np.uint8))
    skipped = first - begin * form.samples
    table = numbers[skipped : skipped + last - first].reshape(-1, k).T
    return np.stack(list(_scaled(table, signals, form.unknown)))


def _scaled(
    table: NDArray[Any], signals: list[WfdbSignal], unknown: int
) -> Iterator[NDArray[np.float32]]:
    for numbers, signal in zip(table, signals, strict=True):
        factor = in_millivolts(signal.unit) / signal.gain
        values = ((numbers.astype(np.float64) - signal.zero) * factor).astype(np.float32)
        yield np.where(numbers == unknown, np.float32(np.nan), values)
