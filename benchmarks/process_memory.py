"""The memory of this process, by the system's own count."""

from __future__ import annotations

import contextlib
import resource
import sys
import threading
from pathlib import Path

STATUS = Path("/proc/self/status")


def _status(name: str) -> float | None:
    """A line of /proc/self/status in MB; None where there is no such file."""
    if not STATUS.exists():
        return None
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def resident_now() -> float:
    """MB that are resident now (the peak so far, where the system does not tell)."""
    now = _status("VmRSS")
    return resident_peak() if now is None else now


def resident_peak() -> float:
    """Most MB that were ever resident.

    Not ``ru_maxrss`` where it can be helped: on Linux a child inherits that of its parent.
    """
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def forget_peak() -> None:
    """Let the peak start from now, so that what imports took for a moment does not count."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class PeakParts:
    """Watches, until closed, how much was its own memory and how much mapped files."""

    def __init__(self, every: float = 0.05) -> None:
        self.most = {"RssAnon": 0.0, "RssFile": 0.0}
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            for name in self.most:
                self.most[name] = max(self.most[name], _status(name) or 0.0)

    def close(self) -> dict[str, float]:
        """Stop; returns the most MB of each."""
        self._ended.set()
        self._thread.join()
        return {name: round(value, 1) for name, value in self.most.items()}
