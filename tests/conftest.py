"""What all tests share: one thread, no trace in the user's home, and where the shared data lies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Before anything imports NumPy or torch, and inherited by the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("local", deadline=None, max_examples=25)
settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache for this run, so that the user's own is neither read nor filled."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("MEDMETA_CACHE", str(folder))
        patch.setenv("MEDMETA_CONFIG", str(tmp_path_factory.mktemp("config")))
        yield folder


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Keep torch to one thread, whatever the test before did."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the checkout, or that MEDMETA_SHARED_DATA names."""
    named = os.environ.get("MEDMETA_SHARED_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared data: set MEDMETA_SHARED_DATA to its folder")
    return folder
