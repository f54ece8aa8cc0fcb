"""Chance of synthetic data: generators that depend on words alone."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.random import Generator, Philox


def chance_of(*words: str | int) -> Generator:
    """Chance that depends on these words alone.

    >>> bool(chance_of("a", 1).integers(100) == chance_of("a", 1).integers(100))
    True
    """
    text = "\x1f".join(map(str, words)).encode()
    key = np.frombuffer(hashlib.sha256(text).digest()[:16], dtype="<u8")
    return Generator(Philox(key=key))
