"""Changes are drawn as numbers, then applied; the loader draws the same ones for the same task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

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
    assert not is_colour(grey)
    assert not is_colour(apply_changes(grey, changes))
    assert is_colour(torch.rand(5, 3, 4, 4))


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
