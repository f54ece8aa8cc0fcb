"""The methods of easyfsl on ready embeddings, where it is installed."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest
from torch import Tensor

from benchmarks import peers


def easyfsl_method(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A class of its methods; skips the test where the library is not installed."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # the library leaves it as it found it
    try:
        peers.load("easyfsl")
    except peers.PeerMissingError as error:
        pytest.skip(str(error))
    return getattr(peers.part_of("easyfsl.methods"), name)


def answers_of(method: Any, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """What it says of one task's queries ``(Q, D)``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old library on a new torch
        method.process_support_set(support, labels)
        answers: Tensor = method(queries)
    return answers
