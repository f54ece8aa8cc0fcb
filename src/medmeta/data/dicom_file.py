"""One DICOM file's header, read within bounds; nothing of its pixels."""

from __future__ import annotations

import gzip
import io
import logging
import stat
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from medmeta.data.readers import ReadLimits
from medmeta.errors import MissingExtraError, UnreadableImageError

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = frozenset((".dcm", ".dicom", ".ima", ".dic"))
DICOMDIR = "DICOMDIR"
DEFLATED = "1.2.840.10008.1.2.1.99"
MAX_HEADER_BYTES = 64_000_000
MAX_INFLATED_BYTES = 200_000_000
_SMALL_INFLATED, _RATIO = 20_000_000, 100  # deflated data may always grow to this, or so many times
MAX_READS = 400_000
_LIMITS = ReadLimits()
_PREFIX_AT, _PREFIX = 128, b"DICM"
_START = 2048  # the meta information, which says how the rest is packed, ends well before

# Only these are ever read: what says who the patient is stays in the file, but for three
# identifiers, which are made pseudonyms at once.
TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID"),
    *("Modality", "Manufacturer", "ManufacturerModelName", "PatientSex", "PatientAge"),
    *("BodyPartExamined", "BurnedInAnnotation", "ImageType", "SliceThickness", "InstanceNumber"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelSpacing", "ImagerPixelSpacing", "SpacingBetweenSlices", "PixelPaddingValue"),
    *("ImagePositionPatient", "ImageOrientationPatient", "GridFrameOffsetVector"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "VOILUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
)


class Bounded:
    """A file that gives no more bytes than it has, whatever a damaged header declares.

    (pydicom asks for as many as an element declares, and Python makes room for them first.)
    ``most`` bounds the bytes that are read in all, and so the time that a header can take.
    """

    def __init__(self, file: IO[bytes], size: int, *, most: int = MAX_HEADER_BYTES) -> None:
        self._file, self._size, self._left, self._reads = file, size, most, MAX_READS
        self._at = file.tell()

    def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes."""
        there = max(0, self._size - self._at)
        n = there if n < 0 else min(n, there)
        self._left -= n
        self._reads -= 1
        if self._left < 0 or self._reads < 0:
            raise UnreadableImageError("has a header that is too large to be one; it is damaged.")
        found = self._file.read(n)
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move."""
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        """Where it stands."""
        return self._at


def looks_like_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its prefix or its suffix, or by how a bare data set begins.

    A file that cannot be opened is not.
    """
    if path.name.upper() == DICOMDIR:
        return True
    name = path.name.lower()
    if path.suffix.lower() in SUFFIXES or name.endswith(".dcm.gz"):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(_PREFIX_AT + len(_PREFIX))
            if start[:2] == b"\x1f\x8b":
                file.seek(0)
                start = zlib.decompressobj(31).decompress(file.read(4096), 1024)
    except (OSError, zlib.error):
        return False
    return start[_PREFIX_AT : _PREFIX_AT + 4] == _PREFIX or _begins_bare(start)


def _begins_bare(start: bytes) -> bool:
    """Whether bytes begin with an element of group 2 or 8, in either order of bytes."""
    if len(start) < 12:
        return False
    group, length = start[:2], int.from_bytes(start[4:8], "little")
    named = start[4:6].isalpha() and start[4:6].isupper()
    usual = start[2:4] in (b"\x00\x00", b"\x01\x00", b"\x05\x00", b"\x08\x00", b"\x12\x00")
    return group in (b"\x02\x00", b"\x08\x00") and usual and (named or length < 1024)


def opened(path: Path, limits: ReadLimits = _LIMITS) -> IO[bytes]:
    """The file's bytes; a gzipped one is unpacked in memory, up to a limit.

    Raises ``UnreadableImageError`` without the file's name.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError("is not an ordinary file; name a DICOM file.")
        if status.st_size == 0:
            raise UnreadableImageError("is empty (0 bytes); copy it again from where it came.")
        if status.st_size > limits.max_bytes:
            raise UnreadableImageError(
                f"has {status.st_size / 1e6:,.0f} MB, more than the {limits.max_bytes / 1e6:,.0f} "
                "MB that are read; export it in parts."
            )
        file = path.open("rb")
        if file.read(2) != b"\x1f\x8b":
            file.seek(0)
            return file
        file.close()
        with gzip.open(path, "rb") as packed:
            content = packed.read(MAX_INFLATED_BYTES + 1)
    except FileNotFoundError:
        raise UnreadableImageError("there is no such file; check the name.") from None
    except PermissionError:
        raise UnreadableImageError("may not be read; ask for the right to read it.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableImageError("is cut short or damaged; copy it again.") from error
    if len(content) > MAX_INFLATED_BYTES:
        raise UnreadableImageError(f"unpacks to more than {MAX_INFLATED_BYTES / 1e6:,.0f} MB.")
    return io.BytesIO(content)


def read_whole(file: IO[bytes]) -> Dataset:
    """Everything that a file holds, pixels too; for making a copy of it.

    Raises ``UnreadableImageError`` as ``read_header`` does.
    """
    return read_header(file, whole=True)[0]


def read_header(file: IO[bytes], *, whole: bool = False) -> tuple[Dataset, IO[bytes]]:
    """What is needed of a header, and the bytes it was read from, which stand at the pixels.

    (Other bytes than ``file`` where the data set was deflated.) Raises ``UnreadableImageError``
    without the file's name; what pydicom says of it is not passed on, for it may quote the file.
    """
    pydicom = _pydicom()
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _read_header(pydicom, file, size, whole=whole)


def _read_header(
    pydicom: Any, file: IO[bytes], size: int, *, whole: bool
) -> tuple[Dataset, IO[bytes]]:
    try:
        content, plain = _inflated(file, size)
        end = content.seek(0, io.SEEK_END)
        content.seek(0)
        bounded: Any = Bounded(content, end, most=MAX_HEADER_BYTES + (2 * end if whole else 0))
        tags = None if whole else _tags()
        dataset: Dataset
        if plain is None:
            dataset = pydicom.dcmread(
                bounded, stop_before_pixels=not whole, force=True, specific_tags=tags
            )
        else:
            dataset = pydicom.filereader.read_dataset(
                bounded, False, True, None, None if whole else _at_pixels, specific_tags=tags
            )
            dataset.file_meta = plain
        _ = len(dataset)
    except UnreadableImageError:
        raise
    except RecursionError as error:
        raise UnreadableImageError("nests its sequences too deeply; it is damaged.") from error
    except Exception as error:  # damaged headers raise almost anything
        raise UnreadableImageError("has a damaged DICOM header; export it again.") from error
    return dataset, content


def _inflated(file: IO[bytes], size: int) -> tuple[IO[bytes], Any]:
    """Bytes to read the data set from; for a deflated one also the file's meta information."""
    start = file.read(_START)
    file.seek(_PREFIX_AT + len(_PREFIX))
    if start[_PREFIX_AT : _PREFIX_AT + 4] != _PREFIX or DEFLATED.encode() not in start:
        file.seek(0)
        return file, None
    pydicom = _pydicom()
    bounded: Any = Bounded(file, size)
    meta = pydicom.filereader._read_file_meta_info(bounded)
    if meta.get("TransferSyntaxUID") != DEFLATED:
        file.seek(0)
        return file, None
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    most = min(MAX_INFLATED_BYTES, max(_SMALL_INFLATED, _RATIO * size))
    content = inflate.decompress(file.read(), most)
    if inflate.unconsumed_tail:
        raise UnreadableImageError(f"unpacks to more than {most / 1e6:,.0f} MB; it is damaged.")
    return io.BytesIO(content), meta


def _at_pixels(tag: Any, vr: str | None, length: int) -> bool:
    del vr, length
    return int(tag) in (0x7FE00010, 0x7FE00009, 0x7FE00008)


@cache
def _tags() -> list[Any]:
    from pydicom.tag import Tag

    return [Tag(name) for name in TAGS]


@cache
def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError:
        raise MissingExtraError("pydicom", "dicom", "reading DICOM files") from None
    # It logs and warns with what stands in headers, which is nobody's business.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    return pydicom
