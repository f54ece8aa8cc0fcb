"""Many files read in order, some of them ahead of whoever takes the pictures."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TypeVar

from medmeta.data.medical import read_slices
from medmeta.data.modalities import ModalRow, read_modal
from medmeta.data.preprocess import Preprocessing, content_hash, prepare
from medmeta.data.readers import read_image
from medmeta.data.scan import Scan
from medmeta.data.signals import NO_SIGNAL, decoded_signal
from medmeta.data.store import Decoded
from medmeta.data.whole_volumes import NO_VOLUME, read_volume
from medmeta.errors import UnreadableImageError

THREADS = 4  # decoders let go of the interpreter; more threads only hold more pictures in memory
_CHUNK = 8  # handing over a file by itself would cost a good part of reading it
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Wanted = Path | ModalRow | tuple[Scan, Sequence[int]]
"""A picture's file, a file for each modality, or a scan with numbers of some of its slices."""


def map_ahead(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int = THREADS
) -> Generator[_Result, None, None]:
    """``map`` by threads, which are at most ``16 * threads`` items ahead; results in order.

    Until it is exhausted or closed no warning is shown, of any thread: filters belong to the
    process, and those of a decoder must not stop a good picture. What ``work`` raises is raised.

    >>> list(map_ahead(str.upper, ["a", "b"]))
    ['A', 'B']
    """
    left = iter(items)
    chunks = iter(lambda: list(islice(left, _CHUNK)), [])
    waiting: deque[Future[list[_Result]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            while True:
                for chunk in islice(chunks, 2 * threads - len(waiting)):
                    waiting.append(pool.submit(lambda c: [work(item) for item in c], chunk))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def read_pictures(
    wanted: Iterable[Wanted], preprocessing: Preprocessing
) -> Generator[Decoded, None, None]:
    """Files and slices to prepared pictures with their content hashes, in order and read ahead.

    A file that cannot be read comes as its reason, without the file's name. Where one slice of a
    scan cannot be read, none of those asked for is.
    """
    with closing(map_ahead(lambda item: _read_item(item, preprocessing), wanted)) as items:
        for decoded in items:
            yield from decoded


def bare_reason(path: Path, error: UnreadableImageError) -> str:
    """Why a picture cannot be read, without its name."""
    return str(error).removeprefix(f"{path}: ")


def _read(path: Path, preprocessing: Preprocessing) -> Decoded:
    try:
        pixels = read_image(path).pixels
    except UnreadableImageError as error:
        return Decoded(None, reason=bare_reason(path, error))
    return Decoded(prepare(pixels, preprocessing), content_hash(pixels))


def _read_item(item: Wanted, preprocessing: Preprocessing) -> list[Decoded]:
    if isinstance(item, ModalRow):
        return [read_modal(item, preprocessing)]
    if preprocessing.samples:
        if isinstance(item, Path):
            return [Decoded(None, reason=NO_SIGNAL)]
        return [decoded_signal(item[0], preprocessing)]
    if isinstance(item, Path):
        missing = Decoded(None, reason=NO_VOLUME)
        return [missing if preprocessing.depth else _read(item, preprocessing)]
    scan, numbers = item
    if preprocessing.depth:
        return [read_volume(scan, preprocessing)]
    try:
        pictures = read_slices(scan, numbers, preprocessing)
        return [Decoded(prepare(p, preprocessing), content_hash(p)) for p in pictures]
    except UnreadableImageError as error:
        reason = str(error).removeprefix(f"{scan.where}: ")
        return [Decoded(None, reason=reason) for _ in numbers]
