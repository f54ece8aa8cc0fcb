"""Runs ``medmeta`` in a process of its own that has its libraries loaded when it begins.

The documentation has some hundred commands, and each would spend longer on loading torch,
scikit-learn and SciPy than on its work. A server loads them once, and each command is a fork of
it; the server itself never computes, so that no command sees what another left.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

HAS_SERVER = sys.platform == "linux"  # elsewhere forks of loaded libraries are not safe
LOADED = (
    "medmeta.app.cli",
    "medmeta.learners",
    "medmeta.trust",
    "scipy.ndimage",
    "scipy.stats",
    "skimage.feature",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "torch.func",
)


def run_medmeta(
    words: Sequence[str], environment: Mapping[str, str], *, seconds: float
) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run(["medmeta", *words], ...)`` in this folder, with no input.

    (A process that is started by a server takes this one's folder by itself.)

    Raises ``subprocess.TimeoutExpired``.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("out", "err")]
        process = context.Process(target=_command, args=(list(words), dict(environment), said))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["medmeta", *words], seconds)
        out, err = (path.read_text("utf-8") if path.exists() else "" for path in said)
    return subprocess.CompletedProcess(["medmeta", *words], process.exitcode, out, err)


def _command(words: list[str], environment: dict[str, str], said: list[Path]) -> None:
    for stream, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["medmeta", *words]
    from medmeta.app.cli import main

    main()
