"""How long a training took, over all its sittings: by the clock, and of the processor."""

from __future__ import annotations

import json
import time
from pathlib import Path

from medmeta.storage import write_json


class TrainingClock:
    """Seconds since the first start, kept in a file so that a resumed training goes on counting."""

    def __init__(self, path: Path) -> None:
        self.path = path
        held = json.loads(path.read_text()) if path.exists() else {}
        self.finished = bool(held.get("finished", False))
        self.before = (float(held.get("seconds", 0)), float(held.get("processor_seconds", 0)))
        self.started = (time.monotonic(), time.process_time())

    def read(self) -> dict[str, float]:
        """Seconds so far; those of a finished training no longer grow."""
        now = (time.monotonic(), time.process_time())
        gone = (
            [0.0, 0.0] if self.finished else [n - s for n, s in zip(now, self.started, strict=True)]
        )
        seconds, processor = (b + g for b, g in zip(self.before, gone, strict=True))
        return {"seconds": round(seconds, 1), "processor_seconds": round(processor, 1)}

    def write(self, *, finished: bool = False) -> dict[str, float]:
        """Keep what was read."""
        read = self.read()
        write_json(self.path, {**read, "finished": finished or self.finished})
        return read
