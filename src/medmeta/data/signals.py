"""Signals found among files, and read: WFDB records and tables behind one door."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medmeta.data.index import Problem
from medmeta.data.preprocess import Preprocessing, content_hash
from medmeta.data.readers import IMAGE_SUFFIXES
from medmeta.data.recording import Recording, modality_of
from medmeta.data.scan import Scan, where_from
from medmeta.data.signal_shape import prepare_signal
from medmeta.data.signal_tables import is_signal_table, read_head, read_table
from medmeta.data.store import Decoded
from medmeta.data.wfdb_header import HEADER_SUFFIX, read_header
from medmeta.data.wfdb_samples import read_samples, sample_files
from medmeta.errors import MedmetaError, UnreadableImageError

SIGNAL: Literal["signal"] = "signal"
AS_THEY_ARE = Preprocessing(samples=1000, csv_rate=100)  # for a look at what a file holds
NO_PICTURE = (
    "is a signal, and pictures are asked for: say how many --samples it should have (1000), or "
    "make a picture of it with 'medmeta data draw-ecg'."
)
NO_SIGNAL = "is no signal, and signals are asked for; leave out --samples, or leave this out."


def is_signal(path: Path) -> bool:
    """Whether a file is a signal: the header of a WFDB record, or a table of numbers."""
    return path.suffix.lower() == HEADER_SUFFIX or is_signal_table(path)


def is_part_of_record(path: Path) -> bool:
    """Whether a file belongs to a WFDB record whose header lies beside it: samples, notes.

    A picture does not.
    """
    suffix = path.suffix.lower()
    if not suffix or suffix == HEADER_SUFFIX or suffix in IMAGE_SUFFIXES:
        return False
    return path.with_suffix(HEADER_SUFFIX).is_file()


def scan_signal(path: Path, *, root: Path) -> Scan | Problem:
    """What a file of signals holds, without its samples; or what is wrong with it.

    The name of a record and what its comments say of a person stay unread, but for the sex.
    """
    where = where_from(path, root)
    try:
        if path.suffix.lower() == HEADER_SUFFIX:
            header = read_header(path)
            leads = tuple(signal.name for signal in header.signals)
            files = tuple(f for f in sample_files(path, header) if f == path or f.is_file())
            others = {"sex": header.sex} if header.sex else {}
            n = header.samples
        else:
            leads, files, others, n = read_head(path).columns, (path,), {}, 0
    except UnreadableImageError as error:
        return Problem("error", where, str(error))
    modality = modality_of(leads)
    return Scan(SIGNAL, where, files, 1, (len(leads), n), modality=modality, others=others)


def read_recording(path: Path, preprocessing: Preprocessing) -> Recording:
    """As many seconds of a file's middle as are used; of a table all of it.

    Raises ``UnreadableImageError`` with the reason alone.
    """
    try:
        if path.suffix.lower() == HEADER_SUFFIX:
            seconds = preprocessing.samples / preprocessing.rate
            return read_samples(path, read_header(path), seconds)
        return read_table(path, preprocessing.csv_rate or None)
    except MedmetaError:
        raise
    except MemoryError:
        raise UnreadableImageError("needs more memory than there is.") from None
    except (OSError, ValueError, OverflowError) as error:
        raise UnreadableImageError(f"is damaged ({type(error).__name__}).") from error


def read_signal(scan: Scan, preprocessing: Preprocessing) -> NDArray[np.float16]:
    """A signal in its fixed shape ``(C, samples)``; raises ``UnreadableImageError`` that names it.

    Also where it is no signal.
    """
    if scan.kind != SIGNAL:
        raise UnreadableImageError(f"{scan.where}: {NO_SIGNAL}")
    try:
        return prepare_signal(read_recording(scan.files[0], preprocessing), preprocessing)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{scan.where}: {error}") from error.__cause__


def decoded_signal(scan: Scan, preprocessing: Preprocessing) -> Decoded:
    """The same for a store, with its content hash; what cannot be read is a reason."""
    try:
        found = read_signal(scan, preprocessing)
    except UnreadableImageError as error:
        return Decoded(None, reason=str(error).removeprefix(f"{scan.where}: "))
    return Decoded(found, content_hash(found))
