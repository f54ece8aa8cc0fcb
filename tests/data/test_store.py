import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medmeta.data.preprocess import Preprocessing
from medmeta.data.store import Decoded, default_cache, open_store, store_key
from medmeta.errors import StorageError

WANTED = Preprocessing(size=16, channels=1)
N = 150
PIXELS = np.random.default_rng(0).integers(0, 256, (N, *WANTED.shape), dtype=np.uint8)


def decode(rows):
    for i in rows:
        yield Decoded(PIXELS[i], 2**64 - 1 - i)


def never(rows):
    raise AssertionError("decoded once more")


def open_it(cache, how=decode, **options):
    return open_store("key", N, WANTED, how, cache=cache, **options)


def check(store):
    assert np.array_equal(store.pixels, PIXELS)
    assert store.hashes.tolist() == [2**64 - 1 - i for i in range(N)]
    assert store.bad == {}


def test_pictures_are_decoded_once_and_mapped(tmp_path):
    steps = []
    check(open_it(tmp_path, progress=lambda done, n: steps.append((done, n))))
    again = open_it(tmp_path, never)
    check(again)
    assert isinstance(again.pixels, np.memmap)
    assert not again.pixels.flags.writeable
    assert steps == [(64, N), (128, N), (150, N)]
    assert sorted(p.name for p in tmp_path.rglob("*")) == [
        "hashes.npy",
        "key",
        "pixels.npy",
        "problems.json",
    ]


@pytest.mark.parametrize("name", ["pixels.npy", "hashes.npy", "problems.json"])
@pytest.mark.parametrize("damage", ["gone", "short", "empty", "other"])
def test_a_damaged_store_is_made_again(tmp_path, name, damage):
    open_it(tmp_path)
    file = tmp_path / "key" / name
    body = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"short": body[: len(body) // 2], "empty": b"", "other": b"{}!"}[damage])
    check(open_it(tmp_path))
    check(open_it(tmp_path, never))


def test_a_store_of_another_shape_is_made_again(tmp_path):
    open_store("key", 10, WANTED, decode, cache=tmp_path)
    check(open_it(tmp_path))


def test_what_cannot_be_read_is_kept_by_row_until_it_can(tmp_path):
    def with_bad(rows):
        for row, picture in zip(rows, decode(rows), strict=True):
            yield Decoded(None, reason="cut") if row == 70 else picture

    for _ in range(2):
        store = open_it(tmp_path, with_bad)
        assert store.bad == {70: "cut"}
        assert store.pixels[70].max() == 0
        assert np.array_equal(np.delete(store.pixels, 70, 0), np.delete(PIXELS, 70, 0))
    check(open_it(tmp_path))


def test_where_the_cache_cannot_be_made_memory_serves(tmp_path):
    (tmp_path / "file").touch()
    store = open_it(tmp_path / "file" / "cache")
    check(store)
    assert store.in_memory


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource", reason="file sizes can be limited on Unix only")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StorageError, match="make room"):
            open_it(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    check(open_it(tmp_path))


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupted(rows):
        yield from decode(rows[:64])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_it(tmp_path, interrupted)
    assert list(tmp_path.iterdir()) == []


RACER = """
import sys, time
from pathlib import Path
import numpy as np
from medmeta.data.preprocess import Preprocessing
from medmeta.data.store import Decoded, open_store

folder, me = Path(sys.argv[1]), sys.argv[2]

def decode(rows):
    (folder / me).touch()
    while not all((folder / name).exists() for name in "ab"):
        time.sleep(0.01)
    for i in rows:
        yield Decoded(np.full((1, 16, 16), i, np.uint8), i)

wanted = Preprocessing(size=16, channels=1)
store = open_store("key", 200, wanted, decode, cache=folder / "cache")
assert store.pixels[:, 0, 3, 3].tolist() == store.hashes.tolist() == list(range(200))
"""


def test_two_processes_may_race(tmp_path):
    racers = [subprocess.Popen([sys.executable, "-c", RACER, tmp_path, name]) for name in "ab"]
    assert [racer.wait(60) for racer in racers] == [0, 0]
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["key"]


def test_key_depends_on_names_sizes_times_and_preprocessing(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"12")
    keys = [store_key([file], WANTED), store_key([file], Preprocessing(size=16))]
    assert store_key([file], WANTED) == keys[0]
    file.write_bytes(b"123")
    keys.append(store_key([file], WANTED))
    keys.append(store_key([file.rename(tmp_path / "b")], WANTED))
    assert len(set(keys)) == 4


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDMETA_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("MEDMETA_CACHE")
    assert default_cache() == Path.home() / ".cache" / "medmeta"
