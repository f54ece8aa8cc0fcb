"""The log of a run: one JSON object per line, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from medmeta.errors import MissingExtraError
from medmeta.storage import explained_disk_errors, write_bytes

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends to ``metrics.jsonl``; a resumed run first drops the lines after its checkpoint."""

    def __init__(self, run: Path, *, from_step: int, tensorboard: bool = False) -> None:
        self.path = run / FILE
        kept = [line for line in read_metrics(run) if line["step"] <= from_step]
        write_bytes(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        with explained_disk_errors(self.path):
            self._file = self.path.open("a")
        self._board = _summary_writer(run / "tensorboard", from_step) if tensorboard else None

    def write(self, step: int, **values: float) -> None:
        """One line for one step; what is not a number is null."""
        known = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with explained_disk_errors(self.path):
            self._file.write(json.dumps({"step": step, **known}) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the file."""
        try:
            with explained_disk_errors(self.path):  # a full disk may still owe a line
                self._file.close()
        finally:
            if self._board is not None:
                self._board.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's log; a line cut short by a crash counts as not written."""
    path = run / FILE
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text("utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def _summary_writer(folder: Path, from_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("tensorboard", "tensorboard", "--tensorboard") from None
    return SummaryWriter(str(folder), purge_step=from_step + 1)
