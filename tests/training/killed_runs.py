"""A process that forks trainings on demand, so that each can be killed without new imports.

Reads one JSON object a line: ``run``, ``settings``, and ``die_at``: before which change on the disk
the training kills itself (null: never). Writes the process's number, and when it has ended its
exit code (minus the signal) and the number of changes it made.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch._dynamo  # noqa: F401  an optimiser's first step would import it, in every child

from tests.training.tiny_run import trainer

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "open"}


def count_changes(die_at: int | None) -> list[str]:
    """The changes on the disk from now on; the process dies just before number ``die_at``."""
    made: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES:
            return
        if event == "open" and not set(str(arguments[1] or "r")) & set("wxa"):
            return
        if len(made) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        made.append(event)

    sys.addaudithook(watch)
    return made


def train(run: str, settings: dict[str, Any], die_at: int | None, answer: int) -> None:
    made = count_changes(die_at)
    trainer(Path(run), **settings).fit()
    os.write(answer, str(len(made)).encode())


def main() -> None:
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                train(**json.loads(line), answer=writing)
                code = 0
            finally:
                os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            print(os.waitstatus_to_exitcode(status), pipe.read() or -1, flush=True)


if __name__ == "__main__":
    main()
