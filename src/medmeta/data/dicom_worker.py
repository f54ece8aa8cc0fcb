"""Decodes compressed DICOM pixels in a process of its own, which can be killed.

Run as a script, so that it loads nothing but pydicom and its plug-ins. A request is a line of JSON;
an answer is a line of JSON, followed by as many bytes as it says.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from typing import Any


def main() -> None:
    """Answer until the other side closes."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not stand among the answers
    warnings.simplefilter("ignore")
    _limit_memory(int(sys.argv[1]))
    import pydicom.pixels  # noqa: F401  (loaded before the first request is timed)

    for line in requests:
        head: dict[str, Any]
        content = b""
        try:
            request = json.loads(line)
            file = requests.read(request["bytes"])
            head, content = _decoded(file, request["frame"])
        except MemoryError:
            head = {"reason": "needs more memory to decode than is allowed."}
        except Exception as error:  # decoders of damaged files raise almost anything
            head = {"reason": "", "kind": type(error).__name__, "missing": _missing(str(error))}
        answers.write(json.dumps(head).encode() + b"\n")
        answers.write(content)
        answers.flush()


def _decoded(file: bytes, frame: int) -> tuple[dict[str, Any], bytes]:
    import numpy as np
    import pydicom
    from pydicom.pixels.utils import pixel_array

    dataset = pydicom.dcmread(io.BytesIO(file), force=True)
    values = np.ascontiguousarray(pixel_array(dataset, index=frame))
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    colour = values.ndim == 3
    head = {"shape": values.shape, "dtype": values.dtype.str, "rgb": colour, "bytes": values.nbytes}
    return head, values.tobytes()


def _missing(said: str) -> bool:
    """Whether pydicom says that no plug-in for this packing is there at all."""
    return "missing dependencies" in said or "missing required" in said.lower()


def _limit_memory(most: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
