"""Files read in parts: in order, a few ahead, and what to say of those that cannot be read."""

from __future__ import annotations

import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medmeta.app import asked as module
from medmeta.app.asked import Asked
from medmeta.app.reading import Reading
from medmeta.data.preprocess import Preprocessing
from medmeta.errors import UnreadableImageError

SIZE = Preprocessing(size=16)
N = 30


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of one grey each, which is their number."""
    root = tmp_path_factory.mktemp("files")
    for i in range(N):
        Image.fromarray(np.full((16, 16), i, np.uint8)).save(root / f"{i:02d}.png")
    return sorted(root.iterdir())


def as_asked(files: list[Path]) -> list[Asked]:
    return [Asked(file, (file.parent.name,)) for file in files]


def greys(pixels: Any) -> list[int]:
    assert (pixels == pixels[:, :1, :1, :1]).all()
    return [int(grey) for grey in pixels[:, 0, 0, 0]]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_parts_are_in_order(threads: int, size: int, files: list[Path]) -> None:
    torch.set_num_threads(threads)
    steps: list[tuple[int, int]] = []
    reading = Reading(
        as_asked(files), SIZE, skip_bad=False, progress=lambda *done: steps.append(done)
    )
    parts = list(reading.parts(greys, size))
    assert [grey for part in parts for grey in part] == list(range(N))
    assert {len(part) for part in parts[:-1]} <= {size}
    assert reading.files(()).paths == tuple(files)
    assert steps == [(min(i + size, N), N) for i in range(0, N, size)]


def test_few_files_are_read_ahead(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    begun: list[Path] = []
    read = module.read_image
    monkeypatch.setattr(module, "read_image", lambda file: begun.append(file) or read(file))
    with closing(Reading(as_asked(files), SIZE, skip_bad=False).parts(greys, 2)) as parts:
        for done in range(1, 5):
            next(parts)
            assert len(begun) <= 2 * (done + 4)  # of two threads, twice as many parts ahead


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("skip_bad", [True, False])
def test_bad_files(threads: int, skip_bad: bool, files: list[Path], tmp_path: Path) -> None:
    torch.set_num_threads(threads)
    bad = [tmp_path / "x.png", tmp_path / "y.png"]
    for file in bad:
        file.write_bytes(b"no picture")
    asked = [*files[:4], bad[0], *files[4:9], bad[1], *files[9:]]
    reading = Reading(as_asked(asked), SIZE, skip_bad=skip_bad)
    made = []
    if skip_bad:
        made = list(reading.parts(greys, 3))
        assert [grey for part in made for grey in part] == list(range(N))
        assert reading.files(()).paths == tuple(files)
    else:
        with pytest.raises(UnreadableImageError, match=f"2 of {N + 2} images") as caught:
            made += reading.parts(greys, 3)
        assert all(file.name in str(caught.value) for file in bad)
        assert "--skip-bad" in str(caught.value)
    found = reading.files(())
    assert [file for file, _ in found.problems] == bad
    assert all(str(file) in reason for file, reason in found.problems)


def test_after_a_bad_file_nothing_is_made(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    made = []
    parts = Reading(
        as_asked([*files[:4], tmp_path / "x.png", *files[4:]]), SIZE, skip_bad=False
    ).parts(lambda pixels: made.append(greys(pixels)), 2)
    with pytest.raises(UnreadableImageError, match=f"1 of {N + 1} images"):
        list(parts)
    assert made == [[0, 1], [2, 3]]


def test_labels_are_the_folders_names(files: list[Path]) -> None:
    reading = Reading(as_asked(files[:2]), SIZE, skip_bad=False)
    list(reading.parts(greys))
    assert reading.files(("other", files[0].parent.name)).labels.tolist() == [1, 1]
    assert reading.files(("other",)).labels.tolist() == [-1, -1]


def test_warnings_are_shown_again_afterwards(files: list[Path]) -> None:
    before = list(warnings.filters)

    def warn(pixels: Any) -> int:
        warnings.warn("of a decoder", UserWarning, stacklevel=1)  # an error in tests elsewhere
        return len(pixels)

    torch.set_num_threads(2)
    assert sum(Reading(as_asked(files), SIZE, skip_bad=False).parts(warn, 4)) == N
    assert list(warnings.filters) == before
