"""Batches over all classes of all sources: what comes how often, and always the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from medmeta.data.preprocess import as_float
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.union import DrawFrom, UnionBatches
from medmeta.errors import SamplingError

COUNTS = {"first": {"a": 2, "b": 6}, "second": {"a": 4}}


def source(name: str, counts: dict[str, int], *, channels: int = 1) -> Source:
    """Pictures that differ from each other in every pixel."""
    labels = [label for label, n in counts.items() for _ in range(n)]
    chance = np.random.default_rng(len(name))
    pixels = chance.integers(0, 256, (len(labels), channels, 4, 4), dtype=np.uint8)
    return Source.from_arrays(name, pixels, labels)


SOURCES = [source(name, counts) for name, counts in COUNTS.items()]


def batches(size: int = 5, draw: DrawFrom = "images", seed: int = 3, **more: str) -> UnionBatches:
    return UnionBatches(SOURCES, size, seed=seed, draw=draw, **more)  # type: ignore[arg-type]


def test_classes_of_two_sources_are_two_classes() -> None:
    union = batches()
    assert union.classes == (("first", "a"), ("first", "b"), ("second", "a"))
    assert union.target == Target("classes", 3)
    assert len(union) == 12


def test_an_episode_of_one_task_without_support() -> None:
    episode = batches().batch(2)
    assert episode.support.labels.shape == (1, 0)
    assert episode.query.inputs.shape == (1, 5, 1, 4, 4)
    assert episode.query.labels.shape == (1, 5)
    assert episode.query.labels.dtype == torch.int64
    assert episode.target == Target("classes", 3)


@pytest.mark.parametrize("draw", ["images", "classes"])
def test_each_image_comes_with_its_class(draw: DrawFrom) -> None:
    union = batches(30, draw)
    known = {
        as_float(torch.from_numpy(one.pixels[row])).numpy().tobytes(): (one.name, label)
        for one in SOURCES
        for row, label in enumerate(one.index.labels.texts())  # type: ignore[union-attr]
    }
    query = union.batch(0).query
    for image, label in zip(query.inputs[0], query.labels[0], strict=True):  # type: ignore[index]
        assert known[image.numpy().tobytes()] == union.classes[int(label)]


def test_every_image_comes_once_in_each_pass() -> None:
    union = batches(5)
    drawn = np.concatenate([union.draw(b) for b in range(12)])  # 60 are five passes of 12
    for number in range(5):
        assert sorted(drawn[12 * number : 12 * (number + 1)]) == list(range(12))
    assert len({tuple(drawn[12 * n : 12 * (n + 1)]) for n in range(5)}) == 5


def test_a_batch_may_hold_several_passes() -> None:
    assert np.bincount(batches(36).draw(1)).tolist() == [3] * 12


def test_classes_come_equally_often_and_their_images_too() -> None:
    union = batches(600, "classes")
    drawn = np.concatenate([union.draw(b) for b in range(20)])
    by_class = np.bincount(union._label[drawn])
    assert np.abs(by_class / len(drawn) - 1 / 3).max() < 0.02
    of_b = np.bincount(drawn)[2:8]
    assert np.abs(of_b / of_b.sum() - 1 / 6).max() < 0.02


@pytest.mark.parametrize("draw", ["images", "classes"])
def test_a_batch_is_a_function_of_the_seed_and_its_number(draw: DrawFrom) -> None:
    one, other = (batches(draw=draw, augment="light") for _ in range(2))
    other.batch(7)  # whatever was drawn before
    for number, found in zip(range(2, 5), one.batches(2, 5), strict=True):
        again = other.batch(number)
        assert torch.equal(found.query.inputs, again.query.inputs)  # type: ignore[arg-type]
        assert torch.equal(found.query.labels, again.query.labels)
    assert (batches(draw=draw, seed=4).draw(0) != one.draw(0)).any()
    assert (one.draw(1) != one.draw(0)).any()


def test_each_image_is_changed_by_itself() -> None:
    plain, changed = batches(64), batches(64, augment="light")
    before, after = plain.batch(0).query.inputs[0], changed.batch(0).query.inputs[0]  # type: ignore[index]
    mirrored = 0
    for image, other in zip(before, after, strict=True):
        assert not torch.equal(image, other)
        inside = other.abs() < 2  # beyond, what was changed is cut off
        fits = []
        for candidate in (image, image.flip(-1)):
            x, y = candidate[inside].double(), other[inside].double()
            design = torch.stack([x, torch.ones_like(x)], 1)
            fits.append(float((design @ torch.linalg.lstsq(design, y).solution - y).norm()))
        assert min(fits) < 1e-3  # an affine change of the intensities
        mirrored += fits[1] < fits[0]
    assert 16 < mirrored < 48


def test_unlabelled_images_and_empty_classes_are_left_out() -> None:
    plain = source("gaps", {"a": 3, "b": 3, "c": 2})
    labels = plain.index.labels
    assert labels is not None
    codes = np.where(labels.codes == 1, -1, labels.codes).astype(labels.codes.dtype)
    index = dataclasses.replace(plain.index, labels=dataclasses.replace(labels, codes=codes))
    union = UnionBatches([dataclasses.replace(plain, index=index)], 5, seed=0)
    assert union.classes == (("gaps", "a"), ("gaps", "c"))
    assert sorted(union._row[union.draw(0)]) == [0, 1, 2, 6, 7]


def test_one_class_is_nothing_to_tell_apart() -> None:
    with pytest.raises(SamplingError, match="1 class in all"):
        UnionBatches([source("alone", {"a": 4})], 2, seed=0)
    two = UnionBatches([source("alone", {"a": 4}), source("other", {"a": 4})], 2, seed=0)
    assert len(two.classes) == 2


def test_values_are_no_classes() -> None:
    plain = source("ages", {"a": 4})
    index = dataclasses.replace(plain.index, labels=None, values=np.zeros(4, np.float32))
    with pytest.raises(SamplingError, match="ages has values"):
        UnionBatches([dataclasses.replace(plain, index=index)], 2, seed=0)
