"""``medmeta data catalogue`` and ``medmeta data download`` as they are typed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from medmeta.data import catalogue as catalogues
from medmeta.data.catalogue import RemoteFile, catalogue, catalogued
from tests.app._typed import medmeta, refused, state
from tests.data.local_server import Behaviour, serving
from tests.data.test_published import medmnist_bytes

PATH = "/records/10519652/files/bloodmnist.npz"
CONTENT = medmnist_bytes(8, shape=(28, 28, 3))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue as if BloodMNIST at 28 pixels were ``CONTENT``."""
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    file = RemoteFile("bloodmnist.npz", md5)
    entry = replace(catalogued("bloodmnist"), files={28: file})
    monkeypatch.setattr(catalogues, "catalogue", lambda: {**catalogue(), "bloodmnist": entry})


def test_the_catalogue_lists_every_set_and_needs_no_network() -> None:
    ended = medmeta("data", "catalogue", "--json")
    assert [entry["name"] for entry in ended.json()] == list(catalogue())
    shown = medmeta("data", "catalogue")
    assert shown.code == 0
    assert all(name in shown.out for name in catalogue())


@pytest.mark.usefixtures("published")
def test_download_then_inspect(tmp_path: Path) -> None:
    with serving(Behaviour(files={PATH: CONTENT})) as base:
        words = ("data", "download", "BloodMNIST", "--out", tmp_path, "--mirror", base)
        ended = medmeta(*words, "--json")
        again = medmeta(*words)
    told = ended.json()
    assert (told["received"], told["sha256"]) == (
        len(CONTENT), hashlib.sha256(CONTENT).hexdigest(),
    )  # fmt: skip
    assert "Licence: CC BY 4.0" in ended.err  # shown before, beside the result
    assert "Cite: Yang J." in ended.err
    assert "was there already" in again.out
    inspected = medmeta("data", "inspect", told["file"], "--json").json()[0]
    assert set(inspected["classes"]) == set(catalogued("bloodmnist").classes)


@pytest.mark.usefixtures("published")
def test_refusals_are_plain_and_leave_nothing(tmp_path: Path) -> None:
    out = ("--out", tmp_path)
    with serving(Behaviour(files={PATH: CONTENT[:-1]})) as base:
        given = ("data", "download", "bloodmnist", *out, "--mirror", base)
        refused(*given, says="is not the published file")
        refused(*given, "--max-gb", "0.001", "--size", "64", says="published in sizes 28.")
        refused("data", "download", "medimeta/oct", *out, "--mirror", base, says="is not there")
    refused(*given, says=("there is no way to 127.0.0.1", "Connection refused"))
    refused("data", "download", "bloodmnst", *out, says="Did you mean 'bloodmnist'")
    refused("data", "download", "oct", "--mirror", "http://example.org", says="no data set")
    refused(*given[:-1], "http://example.org", says="no https address")
    assert {path.name for path in state(tmp_path)} == set()
