"""Rows are the same whether they are copied from memory, from a map or from the map's file."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from medmeta.data import rows
from medmeta.data.rows import take_rows

ARRAY = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 5), dtype=np.uint8)
ASKED = {
    "none": [],
    "one": [49],
    "runs": [3, 4, 5, 9, 10, 48, 49],
    "backwards": [9, 8, 7],
    "again": [7, 7, 8, 8, 0],
    "all": list(range(50)),
}


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAPPED_BYTES", 0)
    np.save(tmp_path / "pixels.npy", ARRAY)
    return np.load(tmp_path / "pixels.npy", mmap_mode="r")


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_rows_are_those_of_the_array(mapped, asked):
    asked = np.array(asked, dtype=np.int64)
    for array in (ARRAY, mapped):
        found = take_rows(array, asked)
        assert type(found) is np.ndarray
        assert np.array_equal(found, ARRAY[asked])
        assert found.flags.writeable


def test_a_large_file_is_read_and_a_small_one_is_not(mapped, monkeypatch):
    read = []
    monkeypatch.setattr(rows, "FileIO", lambda name: read.append(name) or FileIO(name))
    take_rows(mapped, np.array([1]))
    assert len(read) == 1
    monkeypatch.setattr(rows, "MAPPED_BYTES", mapped.nbytes)
    take_rows(mapped, np.array([1]))
    assert len(read) == 1


def test_parts_and_turned_maps_are_not_mistaken_for_the_whole(mapped):
    asked = np.array([0, 2])
    assert np.array_equal(take_rows(mapped[10:], asked), ARRAY[10:][asked])
    assert np.array_equal(take_rows(mapped[::2], asked), ARRAY[::2][asked])
    turned = ARRAY.transpose(1, 0, 2, 3)
    assert np.array_equal(take_rows(mapped.transpose(1, 0, 2, 3), asked), turned[asked])


def test_what_was_written_to_a_map_is_there(mapped):
    mine = np.load(mapped.filename, mmap_mode="c")
    mine[3] = 7
    assert (take_rows(mine, np.array([3])) == 7).all()
    assert np.array_equal(take_rows(mapped, np.array([3])), ARRAY[[3]])


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a mapped file where it is")
def test_where_the_file_is_gone_or_cut_short_the_map_serves(mapped):
    file = Path(mapped.filename)
    other = file.with_name("other.npy")
    file.rename(other)
    assert np.array_equal(take_rows(mapped, np.array([3, 40])), ARRAY[[3, 40]])
    file.write_bytes(other.read_bytes()[:500])
    assert np.array_equal(take_rows(mapped, np.array([3, 40])), ARRAY[[3, 40]])


def mapped_bytes():
    """Bytes of files that this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="says so on Linux only")
def test_reading_a_large_file_leaves_none_of_it_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAPPED_BYTES", 2**20)
    size = 64 * 2**20
    with (tmp_path / "pixels.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (size // 4096, 64, 64)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + size)  # holes take no room on the disk
    array = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    before = mapped_bytes()
    for first in range(0, len(array), 256):
        take_rows(array, np.arange(first, first + 256))
    assert mapped_bytes() - before < size / 16
    monkeypatch.setattr(rows, "MAPPED_BYTES", size * 2)
    take_rows(array, np.arange(len(array)))
    assert mapped_bytes() - before > size / 2  # what the map would hold: so the check can fail
