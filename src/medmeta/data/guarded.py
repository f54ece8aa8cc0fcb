"""Decoders that cannot be trusted to bound themselves, in child processes that can be stopped."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.errors import UnreadableImageError

MAX_CHILD_BYTES = 1_500_000_000  # of address space, a third of which the libraries take
MAX_PIXEL_BYTES = 400_000_000
MAX_SECONDS = 8.0
_STARTING_SECONDS = 60.0  # the first answer waits for the libraries too
_MOST_CHILDREN = 2
_SCRIPT = Path(__file__).with_name("dicom_worker.py")


class _StoppedError(Exception):
    """A child that gave no answer."""


class _Child:
    """One process that decodes; started when it is first asked, and again after it was stopped."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._warm = False

    def ask(self, file: bytes, frame: int) -> tuple[dict[str, Any], bytes]:
        """Its answer: a head, and the bytes it announces. Raises ``UnreadableImageError``."""
        process = self._process = self._process or _started()
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        watch = threading.Timer(MAX_SECONDS if self._warm else _STARTING_SECONDS, stop)
        watch.start()
        try:
            request = json.dumps({"bytes": len(file), "frame": frame}).encode() + b"\n"
            threading.Thread(target=_send, args=(process, request + file), daemon=True).start()
            answer = _received(process)
        except (_StoppedError, ValueError, KeyError) as error:
            self.stop()
            what = "takes too long to decode" if late.is_set() else "makes its decoder fail"
            raise UnreadableImageError(
                f"{what}; it is damaged, or too large. Export it again, uncompressed."
            ) from error
        finally:
            watch.cancel()
        self._warm = True
        return answer

    def stop(self) -> None:
        """Kill it."""
        process, self._process, self._warm = self._process, None, False
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
                process.wait(timeout=5)
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError, ValueError):
                    assert stream is not None
                    stream.close()


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-s", str(_SCRIPT), str(MAX_CHILD_BYTES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )


def _send(process: subprocess.Popen[bytes], content: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(content)
        process.stdin.flush()


def _received(process: subprocess.Popen[bytes]) -> tuple[dict[str, Any], bytes]:
    assert process.stdout is not None
    line = process.stdout.readline(10_000)
    if not line.endswith(b"\n"):
        raise _StoppedError
    head: dict[str, Any] = json.loads(line)
    n = int(head.get("bytes", 0))
    if not 0 <= n <= MAX_PIXEL_BYTES:
        raise _StoppedError
    content = process.stdout.read(n)
    if len(content) != n:
        raise _StoppedError
    return head, content


class _Children:
    """A few of them, lent to whichever thread asks; all are stopped when the program ends."""

    def __init__(self) -> None:
        self._free: queue.LifoQueue[_Child] = queue.LifoQueue()
        self._all = [_Child() for _ in range(_MOST_CHILDREN)]
        for child in self._all:
            self._free.put(child)
        atexit.register(self.stop)

    @contextmanager
    def lent(self) -> Iterator[_Child]:
        child = self._free.get()
        try:
            yield child
        finally:
            self._free.put(child)

    def stop(self) -> None:
        for child in self._all:
            child.stop()


_children = _Children()


def decoded_apart(file: bytes, frame: int) -> tuple[NDArray[Any], bool]:
    """Pixels of one frame of a compressed DICOM file, and whether they are red, green and blue.

    ``(H, W)`` or ``(H, W, 3)``, of the file's own type, colour already as RGB. Decoded by pydicom
    in a child process of bounded memory, within seconds. Raises ``UnreadableImageError``.
    """
    with _children.lent() as child:
        head, content = child.ask(file, frame)
    if "reason" in head:
        if head.get("missing"):
            raise UnreadableImageError(
                "is packed in a way that no installed plug-in unpacks: pip install "
                "'medmeta[dicom]', or export it uncompressed."
            )
        raise UnreadableImageError(
            head["reason"]
            or "cannot be unpacked: its pixels are damaged, cut short, or of a kind "
            "that is not read. Export it again, uncompressed."
        )
    values = np.frombuffer(content, np.dtype(str(head["dtype"]))).reshape(head["shape"])
    return values, bool(head["rgb"])
