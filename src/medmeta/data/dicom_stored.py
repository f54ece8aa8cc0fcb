"""One frame of a DICOM file as it is stored: its numbers, before any meaning is given to them."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medmeta.data.dicom_file import opened, read_header
from medmeta.data.dicom_syntax import syntax_name
from medmeta.data.guarded import decoded_apart
from medmeta.data.readers import ReadLimits
from medmeta.errors import UnreadableImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_NATIVE = {
    "1.2.840.10008.1.2": "<",
    "1.2.840.10008.1.2.1": "<",
    "1.2.840.10008.1.2.1.99": "<",
    "1.2.840.10008.1.2.2": ">",
}
_PIXEL_TAGS = {0x7FE00010: "i", 0x7FE00008: "f", 0x7FE00009: "f"}
_LIMITS = ReadLimits()
_MOST_HELD = 64_000_000  # bytes of a file that was packed, in each thread


@dataclass(frozen=True)
class Stored:
    """One frame as the file holds it.

    ``values`` ``(H, W)`` or ``(H, W, 3)``; ``rgb`` says that they are colours already.
    """

    header: Dataset
    frame: int
    values: NDArray[Any]
    rgb: bool


def read_stored(path: Path, frame: int = 0, limits: ReadLimits = _LIMITS) -> Stored:
    """One frame of a file; raises ``UnreadableImageError`` without the file's name."""
    with _opened(path, limits) as (header, content, file):
        try:
            syntax = transfer_syntax(header)
            syntax_name(syntax)  # refuses one that is not known
            shape = frame_shape(header)
            frames = frame_count(header)
        except UnreadableImageError:
            raise
        except Exception as error:
            raise UnreadableImageError("has a damaged DICOM header; export it again.") from error
        if shape[0] * shape[1] > limits.max_pixels:
            raise UnreadableImageError(
                f"says it has more than the {limits.max_pixels / 1e6:g} megapixels that are read."
            )
        if not 0 <= frame < frames:
            raise UnreadableImageError(f"has {frames} frames, and frame {frame + 1} was asked for.")
        order = _NATIVE.get(syntax)
        if order is not None and _plain(header, order):
            return Stored(
                header, frame, _native(header, content, frame, shape, order), shape[2] > 1
            )
        file.seek(0)
        values, rgb = decoded_apart(file.read(), frame)
    if values.shape[:2] != shape[:2]:
        raise UnreadableImageError("holds a picture of another size than its header says.")
    return Stored(header, frame, values, rgb)


class _Last(threading.local):
    """The file of many frames that a thread read last, whose header need not be read again."""

    key: tuple[str, int, int] | None = None
    header: Dataset
    at: int
    unpacked: bytes | None


_last = _Last()


@contextmanager
def _opened(path: Path, limits: ReadLimits) -> Iterator[tuple[Dataset, IO[bytes], IO[bytes]]]:
    """Header, the bytes that stand at the pixels, and the whole file's."""
    try:
        status = path.stat()
    except OSError:
        status = None  # ``opened`` says what is wrong with it
    key = (str(path), status.st_mtime_ns, status.st_size) if status is not None else None
    if key is not None and key == _last.key:
        unpacked = _last.unpacked
        file: IO[bytes] = path.open("rb") if unpacked is None else io.BytesIO(unpacked)
        with file:
            file.seek(_last.at)
            yield _last.header, file, file
        return
    _last.key = _last.unpacked = None
    with opened(path, limits) as file:
        header, content = read_header(file)
        held = content.getvalue() if isinstance(content, io.BytesIO) else None
        if content is file and _has_several(header) and (held is None or len(held) <= _MOST_HELD):
            _last.header, _last.at, _last.unpacked = header, content.tell(), held
            _last.key = key
        yield header, content, file


def _has_several(header: Dataset) -> bool:
    """Whether it holds several frames; not where that cannot be known."""
    try:
        return frame_count(header) > 1
    except Exception:  # a damaged value: whoever needs it says so
        return False


def transfer_syntax(header: Dataset) -> str:
    """Its identifier; a bare data set's is guessed from how it was read."""
    meta = getattr(header, "file_meta", None)
    named = meta.get("TransferSyntaxUID") if meta is not None else None
    if named:
        return str(named)
    implicit = header.original_encoding[0]
    if implicit is None:
        raise UnreadableImageError("does not say how its pixels are packed (transfer syntax).")
    return "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"


def frame_count(header: Dataset) -> int:
    """How many pictures the file holds."""
    count = int(header.get("NumberOfFrames") or 1)
    if not 1 <= count <= 1_000_000:
        raise UnreadableImageError(f"says it has {count} frames.")
    return count


def frame_shape(header: Dataset) -> tuple[int, int, int]:
    """Rows, columns and samples of a frame; raises where there is no picture."""
    rows, columns = header.get("Rows"), header.get("Columns")
    if not rows or not columns:
        raise UnreadableImageError("holds no picture.")
    samples = int(header.get("SamplesPerPixel") or 1)
    if samples not in (1, 3):
        raise UnreadableImageError(f"has {samples} samples to a pixel; 1 and 3 are read.")
    return int(rows), int(columns), samples


def _plain(header: Dataset, order: str) -> bool:
    """Whether native pixels are whole numbers of bytes and no YBR: what NumPy reads as it is.

    (Single bytes may lie swapped in big-endian files.)
    """
    bits = int(header.get("BitsAllocated") or 0)
    photometric = str(header.get("PhotometricInterpretation") or "")
    known = (16, 32, 64) if order == ">" else (8, 16, 32, 64)
    return bits in known and not photometric.startswith("YBR")


def _native(
    header: Dataset, content: IO[bytes], frame: int, shape: tuple[int, int, int], order: str
) -> NDArray[Any]:
    """A frame of uncompressed pixels, whose size is checked before anything is read."""
    rows, columns, samples = shape
    kind, length = _element(header, content, order)
    allocated = int(header.BitsAllocated)
    if kind == "i":
        kind = "i" if int(header.get("PixelRepresentation") or 0) else "u"
    dtype = np.dtype(f"{order}{kind}{allocated // 8}")
    size = rows * columns * samples * dtype.itemsize
    start = content.tell() + frame * size
    there = content.seek(0, io.SEEK_END)
    if start + size > there or (length != 0xFFFFFFFF and (frame + 1) * size > length):
        raise UnreadableImageError("is cut short: its pixels are fewer than its header says.")
    content.seek(start)
    values = np.frombuffer(content.read(size), dtype)
    unused = allocated - int(header.get("BitsStored") or allocated)
    if kind in "iu" and 0 < unused < allocated:  # they may hold an overlay, or no sign
        values = np.right_shift(np.left_shift(values, unused), unused)
    if samples == 1:
        return values.reshape(rows, columns)
    planar = int(header.get("PlanarConfiguration") or 0)
    if planar:
        return np.ascontiguousarray(values.reshape(samples, rows, columns).transpose(1, 2, 0))
    return values.reshape(rows, columns, samples)


def _element(header: Dataset, content: IO[bytes], order: str) -> tuple[str, int]:
    """Kind of number and length of the pixel element; the bytes then stand at the pixels."""
    byte_order = "little" if order == "<" else "big"
    head = content.read(8)
    if len(head) < 8:
        raise UnreadableImageError("holds no picture: there are no pixels after its header.")
    group = int.from_bytes(head[:2], byte_order)  # type: ignore[arg-type]
    element = int.from_bytes(head[2:4], byte_order)  # type: ignore[arg-type]
    kind = _PIXEL_TAGS.get(group << 16 | element)
    if kind is None:
        raise UnreadableImageError("holds no picture: there are no pixels after its header.")
    if header.original_encoding[0]:
        return kind, int.from_bytes(head[4:8], byte_order)  # type: ignore[arg-type]
    long = head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN")
    length = content.read(4) if long else head[6:8]
    return kind, int.from_bytes(length, byte_order)  # type: ignore[arg-type]
