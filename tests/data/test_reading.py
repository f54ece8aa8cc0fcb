"""Files are read in order, a bounded number ahead, and no thread outlives its use."""

from __future__ import annotations

import threading
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from medmeta.data.preprocess import Preprocessing, content_hash, prepare
from medmeta.data.readers import read_image
from medmeta.data.reading import map_ahead, read_pictures

WANTED = Preprocessing(size=16, channels=3)


def reader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("reader")]


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order(n, threads):
    def slow_at_first(number):
        time.sleep(0.002 if number < 4 else 0)
        return number**2

    assert list(map_ahead(slow_at_first, range(n), threads=threads)) == [i**2 for i in range(n)]
    assert reader_threads() == []


def test_it_is_only_so_far_ahead():
    taken = []

    def items():
        for number in range(10_000):
            taken.append(number)
            yield number

    results = map_ahead(lambda number: number, items(), threads=2)
    for expected in range(200):
        assert next(results) == expected
        assert len(taken) <= expected + 1 + 16 * 2
    results.close()
    assert reader_threads() == []


def test_what_goes_wrong_is_raised_in_its_place():
    def fails(number):
        if number == 20:
            raise KeyError(number)
        return number

    results = map_ahead(fails, range(100))
    assert [next(results) for _ in range(16)] == list(range(16))
    with pytest.raises(KeyError, match="20"):
        list(results)
    assert reader_threads() == []


def test_warnings_are_silent_meanwhile_and_as_before_afterwards():
    def warns(number):
        warnings.warn("broken metadata", stacklevel=1)
        return number

    before = list(warnings.filters)
    assert list(map_ahead(warns, range(50))) == list(range(50))
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning, match="broken"):
        warns(0)


def test_pictures_are_those_read_one_by_one_and_reasons_stand_between_them(tmp_path):
    random = np.random.default_rng(0)
    files = [tmp_path / f"{i}.png" for i in range(40)]
    for i, file in enumerate(files):
        size = (16, 16) if i % 3 else (30, 17, 3)
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(file)
    files[5].write_bytes(b"no picture")
    files[17].unlink()
    found = list(read_pictures(files, WANTED))
    assert len(found) == 40
    for i, (file, picture) in enumerate(zip(files, found, strict=True)):
        if i in (5, 17):
            assert picture.pixels is None
            assert picture.reason.startswith("there is no such" if i == 17 else "is not a picture")
            continue
        pixels = read_image(file).pixels
        assert np.array_equal(picture.pixels, prepare(pixels, WANTED))
        assert picture.content == content_hash(pixels)
