"""The catalogue of public collections: laws that every entry keeps, and facts from their papers."""

from __future__ import annotations

import re

import pytest

from medmeta.data.catalogue import catalogue, catalogued, set_of_file
from medmeta.errors import SettingsError, UnknownNameError

MEDMNIST = {name: s for name, s in catalogue().items() if s.collection.title == "MedMNIST"}
MEDIMETA = {name: s for name, s in catalogue().items() if s.collection.title == "MedIMeta"}


def test_all_published_sets_are_there_in_all_their_sizes() -> None:
    # MedMNIST v2 has 12 flat and 6 spatial sets; MedIMeta's paper says 19 and its record's one
    # size; the organ slices of one CT collection are three sets.
    flat = [s for s in MEDMNIST.values() if s.dimensions == 2]
    spatial = [s for s in MEDMNIST.values() if s.dimensions == 3]
    assert (len(flat), len(spatial), len(MEDIMETA)) == (12, 6, 19)
    assert {tuple(s.files) for s in flat} == {(28, 64, 128, 224)}
    assert {tuple(s.files) for s in spatial} == {(28, 64)}
    assert {tuple(s.files) for s in MEDIMETA.values()} == {(224,)}


def test_medmnist_has_as_many_images_as_its_paper_says() -> None:
    # Yang et al. 2023, abstract: 708,069 two-dimensional and 9,998 three-dimensional images; later
    # versions took a small number of blank ones out.
    counts = {d: 0 for d in (2, 3)}
    for found in MEDMNIST.values():
        counts[found.dimensions] += sum(found.images.values())
    assert 708_069 - 200 < counts[2] <= 708_069
    assert 9_998 - 10 < counts[3] <= 9_998


@pytest.mark.parametrize("name", catalogue())
def test_an_entry_is_whole(name: str) -> None:
    found = catalogued(name.upper())
    assert found.licence.startswith("CC BY")
    assert found.what
    assert found.collection.cite
    assert found.collection.record.isdigit()
    for size, file in found.files.items():
        if found.collection.title == "MedMNIST":
            assert re.fullmatch(r"[0-9a-f]{32}", file.md5 or "")
            assert file.file == (f"{name}.npz" if size == 28 else f"{name}_{size}.npz")
            assert set_of_file(file.file.removesuffix(".npz")) is found
        assert "/" not in file.file
        assert file.path("1") == f"/records/1/files/{file.file}?download=1"
    assert len(set(found.classes)) == len(found.classes)


def test_no_two_files_have_one_hash() -> None:
    hashes = [f.md5 for s in MEDMNIST.values() for f in s.files.values()]
    assert len(set(hashes)) == len(hashes) == 12 * 4 + 6 * 2


def test_the_smallest_size_is_taken_and_another_refused() -> None:
    assert catalogued("bloodmnist").file_of(None).file == "bloodmnist.npz"
    assert catalogued("bloodmnist").file_of(224).file == "bloodmnist_224.npz"
    with pytest.raises(SettingsError, match=r"organmnist3d is published in sizes 28, 64\."):
        catalogued("organmnist3d").file_of(128)


def test_a_misspelt_name_meets_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'bloodmnst'. Did you mean 'bloodmnist'"):
        catalogued("bloodmnst")
