from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medmeta.data.groups import linked_groups
from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.data.splits import of_split, overlap, split_by, split_classes, split_rows
from medmeta.errors import DataError, SettingsError

seeds = st.integers(0, 2**32)
rows = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.int32, n, elements=st.integers(-1, 12)),
        arrays(np.uint64, n, elements=st.integers(0, 12)),
    )
)


@given(rows)
def test_linked_groups_is_the_closure_of_sharing(given_rows):
    patients, hashes = given_rows
    linked = hashes[:, None] == hashes
    linked |= (patients[:, None] == patients) & (patients >= 0)
    for _ in range(6):  # 2**6 links in a row reach all of 40
        linked = linked @ linked
    groups = linked_groups(patients, hashes)
    assert np.array_equal(groups[:, None] == groups, linked)


@given(st.lists(st.text(max_size=3), min_size=2, max_size=8, unique=True), seeds, st.data())
def test_classes_are_split_whole_whatever_their_order(names, seed, data):
    count = data.draw(st.integers(1, len(names) - 1))
    kept, held_out = split_classes(names, count=count, seed=seed)
    assert len(held_out) == count
    assert sorted(kept + held_out) == sorted(names)
    shuffled = data.draw(st.permutations(names))
    assert split_classes(shuffled, count=count, seed=seed) == (kept, held_out)


@pytest.mark.parametrize(("fraction", "count"), [(0.001, 1), (0.25, 3), (0.5, 5), (0.999, 9)])
def test_a_fraction_of_classes_leaves_neither_side_empty(fraction, count):
    names = [str(i) for i in range(10)]
    assert abs(len(split_classes(names, fraction=fraction, seed=0)[1]) - count) <= 1


def test_class_splits_depend_on_the_seed():
    names = [str(i) for i in range(10)]
    assert len({split_classes(names, count=3, seed=s) for s in range(20)}) > 10


@pytest.mark.parametrize(
    "options", [{}, {"count": 1, "fraction": 0.5}, {"count": 0}, {"count": 3}, {"fraction": 1.0}]
)
def test_class_splits_that_cannot_be(options):
    with pytest.raises(SettingsError):
        split_classes(["a", "b", "c"], seed=0, **options)
    with pytest.raises(DataError):
        split_classes(["a"], count=1, seed=0)


labelled = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        arrays(np.int64, n, elements=st.integers(0, 20)),
        arrays(np.int32, n, elements=st.integers(0, 3)),
    )
)


@given(labelled, st.floats(0.05, 0.95), seeds)
def test_rows_are_split_without_parting_a_group(given_rows, fraction, seed):
    groups, labels = given_rows
    if len(np.unique(groups)) < 2:
        with pytest.raises(DataError, match="all linked"):
            split_rows(groups, labels, fraction, seed)
        return
    kept, held_out = split_rows(groups, labels, fraction, seed)
    assert sorted([*kept, *held_out]) == list(range(len(groups)))
    assert len(kept)
    assert len(held_out)
    assert not set(groups[kept]) & set(groups[held_out])
    again = split_rows(groups, labels, fraction, seed)
    assert np.array_equal(again[1], held_out)


@given(seeds, st.sampled_from([0.1, 0.2, 0.5]))
def test_single_images_are_stratified_to_the_nearest(seed, fraction):
    labels = np.repeat(np.arange(4, dtype=np.int32), [10, 20, 50, 100])
    _, held_out = split_rows(np.arange(180), labels, fraction, seed)
    wanted = fraction * np.array([10, 20, 50, 100])
    assert abs(np.bincount(labels[held_out], minlength=4) - wanted).max() <= 0.5


def test_groups_of_many_sizes_come_near_the_fraction():
    rng = np.random.default_rng(0)
    groups = rng.zipf(1.6, 2000) % 400
    labels = (groups * 7 % 5).astype(np.int32)
    _, held_out = split_rows(groups, labels, 0.2, 1)
    shares = np.bincount(labels[held_out]) / np.bincount(labels)
    biggest = np.bincount(groups).max() / np.bincount(labels).min()
    assert abs(shares - 0.2).max() < biggest


def test_sites_are_held_out_whole_and_unknown_ones_left_out():
    codes = np.array([0, 1, -1, 2, 1], np.int32)
    kept, held_out = split_by(codes, [1])
    assert (kept.tolist(), held_out.tolist()) == ([0, 3], [1, 4])
    for wrong in ([], [7], [-1], [0, 1, 2]):
        with pytest.raises(DataError):
            split_by(codes, wrong)


def source(name, values, patients):
    pixels = np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 4, 4), np.uint8)
    return Source.from_arrays(name, pixels, ["x"] * len(values), patients=patients)


def test_overlap_by_picture_and_by_patient():
    a = source("a", [1, 2, 2, 3], ["p", "q", "q", None])
    b = source("a", [9, 2, 3, 8, 7], ["p", "r", "s", None, "t"])
    found = overlap(a, b)
    assert (found.shared_pictures, found.shared_patients) == (2, 1)
    assert found.rows_b.tolist() == [0, 1, 2]


def test_patients_of_other_sources_are_other_people():
    found = overlap(source("a", [1], ["p"]), source("b", [2], ["p"]))
    assert (found.shared_pictures, found.shared_patients, len(found.rows_b)) == (0, 0, 0)


def test_of_split_takes_the_rows_of_one_split_and_says_what_leaks() -> None:
    pixels = np.arange(6 * 16, dtype=np.uint8).reshape(6, 1, 4, 4)
    pixels[5] = pixels[0]  # a picture of train in test
    source = Source.from_arrays("s", pixels, list("aabbcb"), patients=list("pqrsqt"))
    splits = Column.from_texts(["train", "train", "train", "test", "test", "test"])
    source = replace(source, index=replace(source.index, splits=splits))
    part, leak = of_split(source, "test")
    assert part.index.labels is not None
    assert part.index.labels.texts() == ["b", "c", "b"]
    assert part.index.class_names == ("b", "c")
    assert "2 of the 3 images of its split test" in leak
    assert "1 pictures, 1 patients" in leak
    with pytest.raises(DataError, match="has no split 'val'; there is test, train"):
        of_split(source, "val")
    with pytest.raises(DataError, match="it names no splits"):
        of_split(Source.from_arrays("s", pixels, list("aabbcb")), "val")


def test_of_split_says_nothing_where_nothing_leaks() -> None:
    pixels = np.arange(4 * 16, dtype=np.uint8).reshape(4, 1, 4, 4)
    source = Source.from_arrays("s", pixels, list("abab"), patients=list("ppqq"))
    splits = Column.from_texts(["train", "train", "test", None])
    source = replace(source, index=replace(source.index, splits=splits))
    assert of_split(source, "train")[1] == ""
    assert "of a patient who is: 0 pictures, 1 patients" in of_split(source, "test")[1]
