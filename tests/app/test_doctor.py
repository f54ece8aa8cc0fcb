"""What is wrong with a machine is said, with what to do."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medmeta.app.commands.doctor import NOT_LOOKED_AT, fits
from tests.app._typed import medmeta

Patch = pytest.MonkeyPatch


def told(*words: str, code: int) -> Any:
    ended = medmeta("doctor", "--json", *words)
    assert ended.code == code, ended
    plain = medmeta("doctor", *words)
    assert plain.code == code
    found = ended.json()
    for problem in found["problems"]:
        assert all(word in plain.out for word in problem["what"].split()[:2])
    assert ("Nothing is wrong." in plain.out) == (code == 0)
    return found


def without(library: str, patch: Patch) -> None:
    """Let a library seem not to be installed."""
    real: Callable[[str], str] = importlib.metadata.version

    def version(name: str) -> str:
        if name == library:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    patch.setattr(importlib.metadata, "version", version)


def test_a_healthy_machine() -> None:
    found = told(code=0)
    assert found["problems"] == []
    assert found["libraries"]["torch"] == torch.__version__
    assert found["libraries"]["numpy"] == np.__version__
    assert found["gpu"] == NOT_LOOKED_AT
    assert 0 < found["memory"]["available"] <= found["memory"]["total"]
    assert found["threads"] == int(os.environ["OMP_NUM_THREADS"])
    assert {extra["name"] for extra in found["extras"]} == {
        "deidentify",
        "features",
        "parquet",
        "search",
        "slides",
        "tensorboard",
    }


def test_the_gpu_is_looked_at_when_asked(monkeypatch: Patch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    assert told("--gpu", code=0)["gpu"] == "Some GPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seen = Path.exists
    monkeypatch.setattr(Path, "exists", lambda p: p.name == "nvidia0" or seen(p))
    (problem,) = told("--gpu", code=2)["problems"]
    assert "pytorch.org" in problem["do"]
    monkeypatch.setattr(Path, "exists", lambda p: p.name != "nvidia0" and seen(p))
    assert told("--gpu", code=0)["gpu"] == "none found"


def test_a_missing_library(monkeypatch: Patch) -> None:
    without("scipy", monkeypatch)
    found = told(code=2)
    assert found["libraries"]["scipy"] is None
    (problem,) = found["problems"]
    assert problem["what"] == "scipy is missing"
    assert problem["do"].startswith("pip install 'scipy")


def test_a_library_out_of_its_bounds(monkeypatch: Patch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["torch<2.14,>=2.8", "numpy>=9"])
    (problem,) = told(code=2)["problems"]
    assert problem["do"] == "pip install 'numpy>=9'"


def test_a_missing_extra_is_no_problem(monkeypatch: Patch) -> None:
    without("pyarrow", monkeypatch)
    (parquet,) = (e for e in told(code=0)["extras"] if e["name"] == "parquet")
    assert parquet["version"] is None
    assert parquet["get"] == "pip install 'medmeta[parquet]'"


def test_the_cache(tmp_path: Path, monkeypatch: Patch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("MEDMETA_CACHE", str(cache))
    assert told(code=0)["cache"]["bytes"] == 0
    assert not cache.exists()
    (cache / "a").mkdir(parents=True)
    (cache / "a" / "pixels.npy").write_bytes(bytes(1000))
    (cache / "b").write_bytes(bytes(24))
    found = told(code=0)["cache"]
    assert found["bytes"] == 1024
    assert found["writable"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**8))
    (problem,) = told(code=2)["problems"]
    assert problem["what"].startswith("only 0.1 GB")
    monkeypatch.setenv("MEDMETA_CACHE", str(cache / "b" / "c"))
    (problem,) = told(code=2)["problems"]
    assert "MEDMETA_CACHE" in problem["do"]


def test_threads_that_are_no_number(monkeypatch: Patch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    found = told(code=2)
    assert found["threads"] == found["cores"]
    assert "'many'" in found["problems"][0]["what"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert told(code=0)["threads"] == found["cores"]


@pytest.mark.parametrize(
    ("version", "requirement", "right"),
    [
        ("2.8", "torch<2.14,>=2.8.0", True),
        ("2.8.0", "torch<2.14,>=2.8", True),
        ("2.14.0", "torch<2.14,>=2.8", False),
        ("2.13.1+cu129", "torch<2.14,>=2.8", True),
        ("2.7.9", "torch<2.14,>=2.8", False),
        ("10.1", "pillow>=9", True),
        ("1", "anything", True),
    ],
)
def test_bounds(version: str, requirement: str, right: bool) -> None:
    assert fits(version, requirement) is right
