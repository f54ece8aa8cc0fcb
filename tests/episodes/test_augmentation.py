"""Changes are drawn as numbers, then applied; the loader draws the same ones for the same task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medmeta.data.preprocess import as_float
from medmeta.data.source import Source
from medmeta.episodes.augmentation import Changes, apply_changes, draw_changes, is_colour
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_gain_and_shift_are_applied_to_each_image_and_channel():
    images = torch.tensor([[[[0.5]], [[1.0]]], [[[0.5]], [[1.0]]]])
    gain = np.array([[1, 2], [1, 1]], np.float32)
    changes = Changes(np.zeros(2, bool), gain, np.array([0.25, -0.5], np.float32))
    changed = apply_changes(images, changes)
    assert changed.flatten().tolist() == [0.75, 2.0, 0.0, 0.5]  # 2.25 is beyond the range


def test_mirroring_twice_is_nothing():
    images = torch.rand(3, 1, 4, 5)
    still = Changes(np.ones(3, bool), np.ones((3, 1), np.float32), np.zeros(3, np.float32))
    once = apply_changes(images, still)
    assert not torch.equal(once, images)
    assert np.array_equal(once.numpy(), images.numpy()[:, :, :, ::-1])  # left and right, not up
    assert torch.equal(apply_changes(once, still), images)


def test_a_whole_task_is_mirrored_or_none_of_it():
    sides = {tuple(draw_changes(random(s), 6, 3, colour=True).mirrored) for s in range(20)}
    assert sides == {(True,) * 6, (False,) * 6}


def test_grey_pictures_stay_grey():
    changes = draw_changes(random(), 5, 3, colour=False)
    assert (changes.gain == changes.gain[:, :1]).all()
    grey = torch.rand(5, 1, 4, 4).expand(5, 3, 4, 4)
    changed = apply_changes(grey, changes)
    assert is_colour(torch.stack([grey, changed, torch.rand(5, 3, 4, 4)])).tolist() == [0, 0, 1]
    assert is_colour(torch.rand(2, 5, 1, 4, 4)).tolist() == [0, 0]  # one channel is grey


def test_one_coloured_image_makes_the_task_colour():
    images = torch.zeros(2, 5, 3, 4, 4, dtype=torch.uint8)
    images[1, 4, 2, 3, 3] = 1
    assert is_colour(images).tolist() == [False, True]


def test_stored_pixels_are_changed_as_their_normalised_floats_are():
    pixels = torch.from_numpy(random().integers(0, 256, (6, 3, 4, 5), np.uint8))
    for seed in range(4):
        changes = draw_changes(random(seed), 6, 3, colour=True)
        assert torch.equal(apply_changes(pixels, changes), apply_changes(as_float(pixels), changes))


def test_the_images_given_are_left_as_they_are():
    changes = draw_changes(random(), 6, 3, colour=True)
    for images in (torch.rand(6, 3, 4, 5), torch.ones(6, 3, 4, 5, dtype=torch.uint8)):
        before = images.clone()
        apply_changes(images, changes)
        assert torch.equal(images, before)


def test_several_tasks_are_changed_as_each_alone():
    images = torch.rand(3, 6, 3, 4, 5)
    drawn = [draw_changes(random(seed), 6, 3, colour=seed != 1) for seed in range(3)]
    assert len({bool(c.mirrored[0]) for c in drawn}) == 2
    together = apply_changes(images, Changes.of_tasks(drawn))
    for task, changes in enumerate(drawn):
        assert torch.equal(together[task], apply_changes(images[task], changes))


@pytest.mark.parametrize("augment", ["none", "light"])
def test_the_same_task_is_changed_the_same_way(augment):
    pixels = random(1).integers(0, 256, (40, 1, 16, 16), np.uint8)
    source = Source.from_arrays("s", pixels, [f"c{i // 10}" for i in range(40)])
    protocol = Protocol(sources=("s",), n_way=(2, 2), n_query=2)
    loader = EpisodeLoader(TaskSampler([source], protocol), augment=augment)
    plain = EpisodeLoader(TaskSampler([source], protocol)).batch(3)
    first, second = loader.batch(3), loader.batch(3)
    assert torch.equal(first.support.inputs, second.support.inputs)
    assert torch.equal(first.query.labels, plain.query.labels)
    assert torch.equal(first.support.inputs, plain.support.inputs) == (augment == "none")


@pytest.mark.parametrize("colour", [False, True])
def test_light_draws_the_numbers_that_saved_runs_were_begun_with(colour):
    # The order of the draws is part of every run that is to be gone on with.
    found, numbers = draw_changes(random(7), 5, 3, colour=colour), random(7)
    gain = 1 + 0.25 * numbers.uniform(-1, 1, (5, 1))
    tints = 1 + 0.1 * numbers.uniform(-1, 1, (5, 3)) if colour else np.ones((5, 3))
    mirrored, shift = numbers.random() < 0.5, 0.3 * numbers.uniform(-1, 1, 5)
    assert np.array_equal(found.gain, (gain * tints).astype(np.float32))
    assert np.array_equal(found.mirrored, [mirrored] * 5)
    assert np.array_equal(found.shift, shift.astype(np.float32))
