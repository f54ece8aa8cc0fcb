"""Volumes as slices of a source: which, whose, and never on both sides of a task."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from medmeta.data.groups import linked_groups
from medmeta.data.listing import survey
from medmeta.data.preprocess import Preprocessing, content_hash, prepare
from medmeta.data.slices import chosen_slices
from medmeta.data.sources import open_source
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import UnreadableImageError

ONE = Preprocessing(size=16, channels=1)


def nifti(path, seed, shape=(16, 16, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return values


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate("ab"):
        for i in range(4):
            nifti(tmp_path / "set" / name / f"{i}.nii.gz", 10 * k + i)
        picture = np.random.default_rng(90 + k).integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "set" / name / "plain.png")
    return tmp_path / "set"


def test_every_number_of_slices_is_distinct_and_central():
    for depth in range(1, 60):
        for wanted in range(1, 70):
            numbers = chosen_slices(depth, wanted)
            assert len(set(numbers)) == min(depth, wanted)
            assert min(numbers) >= 0
            assert max(numbers) < depth
    assert chosen_slices(28, 1) == (14,)
    assert all(25 <= n < 75 for n in chosen_slices(100, 50))  # the middle half


def test_a_row_for_each_slice_and_one_for_a_picture(folder, tmp_path):
    wanted = Preprocessing(size=16, channels=1, slices=3, window="450,900")
    source = open_source(folder, preprocessing=wanted, cache=tmp_path / "cache")
    assert len(source) == 2 * (4 * 3 + 1)
    assert source.index.labels.texts() == ["a"] * 13 + ["b"] * 13
    values = nibabel.load(folder / "a" / "0.nii.gz").get_fdata()
    rows = [row for row, path in enumerate(source.index.paths)
            if path.parent.name == "a" and path.name == "0.nii.gz"]  # fmt: skip
    assert source.index.array_rows[rows].tolist() == list(chosen_slices(9, 3))
    for row in rows:
        shown = values[:, :, source.index.array_rows[row]][::-1, ::-1].T
        exact = np.rint(shown * (255 / 900)).astype(np.uint8)
        assert np.array_equal(source.gather(np.array(row)), prepare(exact, wanted))
        assert source.hashes[row] == content_hash(exact)
    volumes = source.index.column("volume").codes
    assert len(np.unique(volumes[volumes >= 0])) == 8
    assert (volumes < 0).sum() == 2
    assert len(np.unique(source.groups)) == 10


def test_slices_windows_and_planes_have_stores_of_their_own(folder, tmp_path):
    for changes in ({}, {"slices": 2}, {"window": "lung"}, {"plane": "coronal"}):
        wanted = Preprocessing(size=16, channels=1, **changes)
        open_source(folder, preprocessing=wanted, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_slices_of_one_volume_never_stand_on_both_sides(folder, tmp_path):
    wanted = Preprocessing(size=16, channels=1, slices=5)
    source = open_source(folder, preprocessing=wanted, cache=tmp_path / "cache")
    volumes = source.index.column("volume").codes
    for disjoint in (True, False):
        protocol = Protocol(
            sources=("set",), n_way=(2, 2), n_shot=(3, 3), n_query=4, patient_disjoint=disjoint
        )
        sampler = TaskSampler([source], protocol)
        for number in range(200):
            task = sampler.draw(number)
            support = set(volumes[task.support_rows].tolist()) - {-1}
            assert not support & set(volumes[task.query_rows].tolist())


def test_links_are_followed_through_patients_pictures_and_volumes():
    patients = np.array([0, -1, -1, -1, -1, 1], np.int32)
    hashes = np.array([1, 1, 2, 3, 4, 4], np.uint64)
    volumes = np.array([-1, 5, 5, 6, -1, -1], np.int32)
    assert linked_groups(patients, hashes, volumes).tolist() == [0, 0, 0, 1, 2, 2]


def test_volumes_of_medmnist(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 28), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1])[:, None]
    np.savez(
        tmp_path / "organ.npz",
        **{f"{part}_{kind}": values[rows]
           for part, rows in (("train", slice(4)), ("val", slice(4, 5)), ("test", slice(5, 6)))
           for kind, values in (("images", images), ("labels", labels))},
    )  # fmt: skip
    assert len(survey(tmp_path / "organ.npz").index) == 6
    wanted = Preprocessing(size=28, channels=1, slices=2)
    source = open_source(tmp_path / "organ.npz", preprocessing=wanted, cache=tmp_path / "cache")
    first, second = chosen_slices(28, 2)
    expected = np.stack([images[i, n] for i in range(6) for n in (first, second)])
    assert np.array_equal(source.gather(np.arange(12))[:, 0], expected)
    assert source.index.labels.texts() == ["0", "0", "1", "1"] * 3
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_volume_that_cannot_be_read_is_one_problem(folder, tmp_path):
    bad = folder / "a" / "1.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-200])
    wanted = Preprocessing(size=16, channels=1, slices=3)
    with pytest.raises(UnreadableImageError, match=r"1 of 10 images") as error:
        open_source(folder, preprocessing=wanted, cache=tmp_path / "cache")
    assert str(error.value).count("a/1.nii.gz") == 1
    kept = open_source(folder, preprocessing=wanted, cache=tmp_path / "cache", skip_bad=True)
    assert len(kept) == 23
    assert [(p.where, p.left_out) for p in kept.index.problems] == [("a/1.nii.gz", True)]
