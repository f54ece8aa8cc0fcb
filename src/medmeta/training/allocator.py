"""Keeping freed memory for the next step, not giving it back to the system and asking again."""

from __future__ import annotations

import ctypes
import platform

# glibc's mallopt(3): numbers of its parameters, and the largest threshold that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MOST_ARENAS = -1, -3, -8
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_KEPT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory in the process; returns whether it agreed.

    A training step frees and asks for the same hundreds of megabytes again. Fresh pages from the
    system must be cleared one by one, which took a third of the processor's time. All threads share
    one arena: what a thread has of its own is given back whatever the threshold. Other systems are
    left as they are.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    trimmed = mallopt(_TRIM_THRESHOLD, _KEPT)
    mapped = mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    shared = mallopt(_MOST_ARENAS, 1)
    return bool(trimmed and mapped and shared)
