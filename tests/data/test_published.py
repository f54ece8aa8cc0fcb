"""From a name in the catalogue to a file that opens with its classes, over a local server."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medmeta.data.archive import read_archive
from medmeta.data.catalogue import CataloguedSet, RemoteFile, catalogued
from medmeta.data.published import Publication
from medmeta.errors import DataError, SettingsError
from tests.data.local_server import Behaviour, serving

RECORD = "/api/records/7884735"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def with_hash(name: str, file: str, content: bytes, *, size: int = 28) -> CataloguedSet:
    """An entry of the catalogue as if its file were ``content``."""
    return replace(catalogued(name), files={size: RemoteFile(file, md5(content))})


def medmnist_bytes(n_classes: int, *, shape: tuple[int, ...] = (28, 28)) -> bytes:
    arrays = {}
    for number, part in enumerate(("train", "val", "test")):
        pixels = np.random.default_rng(number).integers(0, 256, (n_classes, *shape), np.uint8)
        arrays[f"{part}_images"] = pixels
        arrays[f"{part}_labels"] = np.arange(n_classes)[:, None].astype(np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_a_downloaded_set_opens_with_its_classes_and_modality(tmp_path: Path) -> None:
    content = medmnist_bytes(8, shape=(28, 28, 3))
    entry = with_hash("bloodmnist", "bloodmnist.npz", content)
    does = Behaviour(files={"/records/10519652/files/bloodmnist.npz": content})
    with serving(does) as base:
        done = Publication.of(entry, mirror=base).download(tmp_path)
    assert does.asked[0]["path"] == "/records/10519652/files/bloodmnist.npz?download=1"
    index = read_archive(done.path).index
    assert set(index.class_names) == set(entry.classes)
    assert index.labels is not None
    assert index.labels.texts()[:8] == list(entry.classes)  # row i has label i
    assert index.modalities.names == ("blood smear",)
    kept = (tmp_path / "bloodmnist.npz.licence.txt").read_text(encoding="utf-8")
    assert "CC BY 4.0" in kept
    assert "doi:10.1038/s41597-022-01721-8" in kept


@pytest.mark.parametrize(
    ("name", "classes", "shape", "named"),
    [
        ("organmnist3d_64", 11, (4, 5, 5), True),
        ("organmnist3d_64", 11, (28, 28), False),  # pictures, where the set is of volumes
        ("pathmnist", 10, (28, 28, 3), False),  # a tenth class, where the set has nine
        ("pathmnist", 9, (28, 28, 3), True),
        ("my_pathmnist", 9, (28, 28, 3), False),
    ],
)
def test_names_are_given_only_to_what_fits(
    tmp_path: Path, name: str, classes: int, shape: tuple[int, ...], named: bool
) -> None:
    path = tmp_path / f"{name}.npz"
    path.write_bytes(medmnist_bytes(classes, shape=shape))
    index = read_archive(path).index
    assert ("0" not in index.class_names) == named
    assert bool(index.modalities.names) == named


def test_what_the_record_says_is_the_hash_where_the_catalogue_has_none(tmp_path: Path) -> None:
    content, path = b"zip" * 1000, "/records/7884735/files/oct.zip"
    files = [{"key": "oct.zip", "checksum": f"md5:{md5(content)}"}, {"key": "x"}, 5]
    does = Behaviour(files={path: content, RECORD: json.dumps({"files": files}).encode()})
    with serving(does) as base:
        done = Publication.of(catalogued("medimeta/oct"), mirror=base).download(tmp_path)
        assert (done.path.name, done.md5) == ("oct.zip", md5(content))
        does.files[path] = b"altered"
        (tmp_path / "oct.zip").unlink()
        with pytest.raises(DataError, match="is not the published file"):
            Publication.of(catalogued("medimeta/oct"), mirror=base).download(tmp_path)
        with pytest.raises(DataError, match=r"no hash of bus.zip; its files are oct.zip\."):
            Publication.of(catalogued("medimeta/bus"), mirror=base).download(tmp_path)


@pytest.mark.parametrize("record", [b"", b"[]", b'{"files": 5}', b"[" * 100_000, b"\xff"])
def test_a_record_that_is_none_gives_no_hash_and_no_download(tmp_path: Path, record: bytes) -> None:
    does, refusal = Behaviour(files={RECORD: record}), r"has no hash of oct\.zip"
    with serving(does) as base, pytest.raises(DataError, match=refusal):
        Publication.of(catalogued("medimeta/oct"), mirror=base).download(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_does_not_end_is_not_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medmeta.data.transfer.MAX_TEXT_BYTES", 1000)
    does, refusal = Behaviour(files={RECORD: bytes(1001)}), "more than was asked for"
    with serving(does) as base, pytest.raises(DataError, match=refusal):
        Publication.of(catalogued("medimeta/oct"), mirror=base).download(tmp_path)


def test_without_a_network_the_hash_cannot_be_read(tmp_path: Path) -> None:
    with serving(Behaviour()) as base:
        pass
    with pytest.raises(DataError, match=r"cannot be read: 127.*without it nothing is downloaded"):
        Publication.of(catalogued("medimeta/oct"), mirror=base).download(tmp_path)


def test_a_mirror_is_https_or_this_machine() -> None:
    with pytest.raises(SettingsError, match="no https address"):
        Publication.of(catalogued("medimeta/oct"), mirror="http://mirror.example.org")
