"""Downloads against a server on this machine that breaks off, lies, leads astray or is slow."""

from __future__ import annotations

import hashlib
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmeta.data.download import Downloaded, download
from medmeta.data.transfer import Server, checked_address
from medmeta.errors import DataError, SettingsError, StorageError
from tests.data.local_server import Behaviour, serving

CONTENT = np.random.default_rng(0).bytes(20_000)
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
PATH = "/records/1/files/a.npz"


def behaviour(**changes: Any) -> Behaviour:
    return Behaviour(**{"files": {PATH: CONTENT}, **changes})


def fetch(does: Behaviour, folder: Path, *, path: str = PATH, **options: Any) -> Downloaded:
    waits = options.pop("waits", [])
    timeout = options.pop("timeout", 5.0)
    options = {"md5": MD5, "notice": "CC BY 4.0\n", "pause": waits.append, **options}
    with serving(does) as base:
        return download(Server(base, timeout=timeout), path, folder / "a.npz", **options)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


WHOLE = {"a.npz", "a.npz.sha256", "a.npz.licence.txt"}


def test_the_file_its_hash_and_its_licence_are_there(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = fetch(behaviour(), tmp_path / "new", progress=lambda *s: seen.append(s))
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert done == Downloaded(tmp_path / "new" / "a.npz", 20_000, MD5, sha256, 20_000)
    assert done.path.read_bytes() == CONTENT
    assert names(done.path.parent) == WHOLE
    assert (tmp_path / "new" / "a.npz.sha256").read_text() == f"{sha256}  a.npz\n"
    assert (tmp_path / "new" / "a.npz.licence.txt").read_text() == "CC BY 4.0\n"
    assert seen[-1] == (20_000, 20_000)
    assert [s[0] for s in seen] == sorted(s[0] for s in seen)


def test_a_file_that_is_there_is_not_asked_for(tmp_path: Path) -> None:
    fetch(behaviour(), tmp_path)
    does = behaviour()
    assert fetch(does, tmp_path).received == 0
    assert does.asked == []


def test_another_file_of_that_name_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"my own")
    with pytest.raises(StorageError, match="is not the published file"):
        fetch(behaviour(), tmp_path)
    assert (tmp_path / "a.npz").read_bytes() == b"my own"
    assert names(tmp_path) == {"a.npz"}


def test_broken_connections_are_gone_on_from_where_they_broke(tmp_path: Path) -> None:
    does, waits = behaviour(break_after=[5000, 0, 7000]), []
    done = fetch(does, tmp_path, waits=waits)
    assert done.path.read_bytes() == CONTENT
    assert done.received == len(CONTENT)  # nothing came twice
    assert [a.get("Range") for a in does.asked] == [
        None, "bytes=5000-", "bytes=5000-", "bytes=12000-",
    ]  # fmt: skip
    assert all(a["If-Range"] == does.etag for a in does.asked[1:])
    assert waits == [0.5, 1.0, 0.5]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(tmp_path: Path) -> None:
    broken = behaviour(break_after=[8000, 0, 0, 0, 0, 0])
    with pytest.raises(DataError, match=r"given up after 5 tries. 0.0 MB are kept; the same"):
        fetch(broken, tmp_path)
    assert names(tmp_path) == {".a.npz.part", ".a.npz.part.json"}
    does = behaviour()
    done = fetch(does, tmp_path)
    assert (done.received, done.path.read_bytes()) == (12_000, CONTENT)
    assert does.asked[0]["Range"] == "bytes=8000-"
    assert names(tmp_path) == WHOLE


def test_ctrl_c_keeps_what_arrived(tmp_path: Path) -> None:
    def stop(there: int, total: int) -> None:
        if there >= 3000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(behaviour(pause=0.001), tmp_path, progress=stop)
    assert (tmp_path / ".a.npz.part").stat().st_size >= 3000
    assert fetch(behaviour(), tmp_path).received <= 17_000


def test_a_killed_download_that_had_everything_only_takes_its_place(tmp_path: Path) -> None:
    def stop(there: int, total: int) -> None:
        if there == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(behaviour(), tmp_path, progress=stop)
    assert fetch(behaviour(), tmp_path).received == 0  # the server says 416, of 20,000
    assert names(tmp_path) == WHOLE


@pytest.mark.parametrize("changes", [{"ranges": False}, {"etag": '"second"'}])
def test_a_server_without_ranges_or_with_another_version_starts_anew(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(DataError):
        fetch(behaviour(break_after=[8000, 0, 0, 0, 0, 0]), tmp_path)
    assert fetch(behaviour(**changes), tmp_path).received == len(CONTENT)


def test_a_part_of_another_version_is_thrown_away_when_the_hash_says_so(tmp_path: Path) -> None:
    old = behaviour(files={PATH: bytes(20_000)}, etag="", break_after=[8000, 0, 0, 0, 0, 0])
    with pytest.raises(DataError):
        fetch(old, tmp_path)
    done = fetch(behaviour(etag=""), tmp_path)  # without a tag nothing but the hash can tell
    assert (done.path.read_bytes(), done.received) == (CONTENT, 12_000 + 20_000)


def test_a_part_of_a_file_with_another_hash_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        fetch(behaviour(break_after=[8000, 0, 0, 0, 0, 0]), tmp_path)
    other = b"other" * 5000
    does = behaviour(files={PATH: other})
    fetch(does, tmp_path, md5=hashlib.md5(other, usedforsecurity=False).hexdigest())
    assert "Range" not in does.asked[0]


def test_a_part_that_begins_elsewhere_is_not_joined(tmp_path: Path) -> None:
    does = behaviour(break_after=[8000], wrong_start=1)
    assert fetch(does, tmp_path).path.read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not the published file.*removed. Try again"):
        fetch(behaviour(files={PATH: CONTENT[:-1] + b"x"}), tmp_path)
    assert names(tmp_path) == set()


def test_a_page_instead_of_the_file_is_found_by_its_hash(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the published file"):
        fetch(behaviour(files={PATH: b"<html>log in</html>"}, length_said=False), tmp_path)
    assert names(tmp_path) == set()


def test_a_length_that_is_not_kept_is_a_broken_connection(tmp_path: Path) -> None:
    does = behaviour(says_longer_by=10)
    assert fetch(does, tmp_path).path.read_bytes() == CONTENT
    assert does.asked[1]["Range"] == "bytes=20000-"  # and was told that there is no more


def test_a_server_that_says_no_length_is_taken_at_its_hash(tmp_path: Path) -> None:
    assert fetch(behaviour(length_said=False), tmp_path).size == len(CONTENT)


def test_a_packed_answer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sent the file packed"):
        fetch(behaviour(encoding="gzip"), tmp_path)


@pytest.mark.parametrize("said", [True, False])
def test_a_file_beyond_the_limit_is_refused_and_left_out(tmp_path: Path, said: bool) -> None:
    with pytest.raises(DataError, match="beyond the limit of 1e-05 GB; --max-gb raises it"):
        fetch(behaviour(length_said=said), tmp_path, max_bytes=10_000)
    assert names(tmp_path) == set()


def test_a_disk_that_is_full_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 64_010_000))
    with pytest.raises(StorageError, match="GB more and the disk has"):
        fetch(behaviour(), tmp_path)
    assert not (tmp_path / "a.npz").exists()


def test_a_disk_that_fills_up_meanwhile_keeps_the_part(tmp_path: Path) -> None:
    does = behaviour(files={PATH: bytes(3_000_000)})
    md5 = hashlib.md5(bytes(3_000_000), usedforsecurity=False).hexdigest()
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"\.a\.npz\.part could not be written"):
            fetch(does, tmp_path, md5=md5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 0 < (tmp_path / ".a.npz.part").stat().st_size <= 1_000_000
    assert fetch(does, tmp_path, md5=md5).received <= 2_300_000


def test_a_missing_file_is_said_at_once(tmp_path: Path) -> None:
    does = behaviour()
    with pytest.raises(DataError, match=r"/gone is not there \(127.* answered 404 Not Found\)"):
        fetch(does, tmp_path, path="/gone")
    assert len(does.asked) == 1
    with pytest.raises(DataError, match=r"will not give .*: it answered 403 Forbidden"):
        fetch(behaviour(status=[403]), tmp_path)


def test_a_busy_server_is_asked_again_when_it_says_so(tmp_path: Path) -> None:
    waits: list[float] = []
    fetch(behaviour(status=[503, 429], retry_after="7"), tmp_path, waits=waits)
    assert waits == [7.0, 7.0]
    with pytest.raises(DataError, match="answered 503 Service Unavailable; given up"):
        fetch(behaviour(status=[503] * 9), tmp_path / "b")


def test_a_silent_server_is_left_and_a_slow_one_is_not(tmp_path: Path) -> None:
    waits: list[float] = []
    fetch(behaviour(pause=0.01), tmp_path, timeout=0.2, waits=waits)
    assert waits == []  # 0.2 s in all, but never 0.2 s without a byte
    with pytest.raises(DataError, match="no answer in time"):
        fetch(behaviour(silence=0.3), tmp_path / "b", timeout=0.05)


def test_no_network_is_said_in_plain_words(tmp_path: Path) -> None:
    with serving(behaviour()) as base:
        pass  # and nobody listens there any more
    with pytest.raises(DataError, match=r"there is no way to 127.*Connection refused.*by hand"):
        download(Server(base), PATH, tmp_path / "a.npz", md5=MD5, notice="", pause=lambda _: None)
    assert not (tmp_path / "a.npz").exists()


def test_a_server_may_lead_on_within_limits(tmp_path: Path) -> None:
    does = behaviour()
    with serving(does) as base:
        does.redirect = base + PATH
        moved = download(Server(base), "/moved", tmp_path / "a.npz", md5=MD5, notice="")
        assert moved.size == len(CONTENT)
        does.redirect = base + "/moved/again"
        with pytest.raises(DataError, match="answered 302"):
            download(Server(base), "/moved", tmp_path / "b.npz", md5=MD5, notice="")
        for elsewhere in ("http://example.org/a.npz", "file:///etc/passwd", "ftp://example.org/a"):
            does.redirect = elsewhere
            with pytest.raises(DataError, match=r"no https address|is not allowed"):
                download(Server(base), "/moved", tmp_path / "b.npz", md5=MD5, notice="")


@pytest.mark.parametrize(
    "url",
    ["http://zenodo.org", "http://127.0.0.1", "file:///etc/passwd", "zenodo.org", "https://", ""],
)
def test_only_https_is_asked(url: str) -> None:
    with pytest.raises(SettingsError, match="no https address"):
        checked_address(url)


def test_http_is_asked_of_this_machine_alone() -> None:
    assert checked_address("http://127.0.0.1:8000/x", plain_here=True)
    with pytest.raises(SettingsError, match="no https address"):
        checked_address("http://127.0.0.1.example.org", plain_here=True)
    with pytest.raises(SettingsError, match="name or password"):
        checked_address("https://me:secret@example.org")


def test_two_downloads_of_one_file_do_not_mix(tmp_path: Path) -> None:
    def second(there: int, total: int) -> None:
        with pytest.raises(StorageError, match="another download is writing"):
            fetch(behaviour(), tmp_path)

    assert fetch(behaviour(), tmp_path, progress=second).path.read_bytes() == CONTENT
