"""The libraries that medmeta is compared with: found in ``.peers``, and made to import.

They were written for older versions of Python, torch and torchvision. What is put right here is
named beside each; none of it is in the way of what is measured.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / ".peers"
PEERS = ("learn2learn", "higher", "torchopt", "easyfsl", "torchmeta")


class PeerMissingError(Exception):
    """A library is not installed here, or does not import."""


def load(name: str) -> Any:
    """The library's module; raises ``PeerMissingError`` that says why there is none."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last: what medmeta itself is installed with goes first
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return _LOADERS[name]()
    except Exception as error:  # an old library may fail in any way on a new Python
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PeerMissingError(
            f"{name} cannot be imported on this Python ({reason}); 'make bench-peers' installs it."
        ) from error


def part_of(name: str) -> Any:
    """A module of a library that has been loaded."""
    return importlib.import_module(name)


def version_of(name: str) -> str:
    """The library's version, once it has been imported."""
    load(name)
    return importlib.metadata.version(name)


def _torchvision() -> Any:
    """Wheels of torchvision are built for CUDA: two operators are missing beside torch for CPUs."""
    torch = importlib.import_module("torch")
    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)  # the operators are gone when it is
    return importlib.import_module("torchvision")


def _learn2learn() -> Any:
    _torchvision()
    return importlib.import_module("learn2learn")


def _easyfsl() -> Any:
    """Its sampler gives torch's an argument that torch's no longer takes."""
    _torchvision()
    os.environ.setdefault("MPLBACKEND", "Agg")
    sampler = importlib.import_module("torch.utils.data").Sampler

    def takes_a_source(self: Any, data_source: Any = None) -> None:
        del self, data_source

    sampler.__init__ = takes_a_source
    for part in ("datasets", "methods", "samplers", "utils"):
        importlib.import_module(f"easyfsl.{part}")
    return importlib.import_module("easyfsl")


def _torchmeta() -> Any:
    """Its downloads, which are not used here, need two functions that torchvision has dropped."""
    _torchvision()
    downloads: types.ModuleType = importlib.import_module("torchvision.datasets.utils")
    for gone in ("_get_confirm_token", "_save_response_content"):
        if not hasattr(downloads, gone):
            setattr(downloads, gone, None)
    importlib.import_module("torchmeta.modules")
    importlib.import_module("torchmeta.utils.gradient_based")
    return importlib.import_module("torchmeta")


_KEPT: list[Any] = []
_LOADERS: dict[str, Callable[[], Any]] = {
    "learn2learn": _learn2learn,
    "higher": lambda: importlib.import_module("higher"),
    "torchopt": lambda: importlib.import_module("torchopt"),
    "easyfsl": _easyfsl,
    "torchmeta": _torchmeta,
}
