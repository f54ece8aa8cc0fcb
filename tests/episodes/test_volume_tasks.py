"""Tasks of volumes with masks: drawn, altered and made into others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medmeta import synthetic_structures
from medmeta.episode import Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.episodes.task_augmentation import TaskChanges, draw_task_changes
from medmeta.errors import SettingsError, UnknownNameError


def changes(order: list[int], flips: list[bool], turns: int = 0) -> TaskChanges:
    return TaskChanges(
        inverted=np.array([False]), swapped=np.array([False]), turns=np.array([turns]),
        order=np.array([order]), flips=np.array([flips]),
    )  # fmt: skip


def test_axes_change_places_in_images_and_masks_alike() -> None:
    volume = torch.arange(27.0).reshape(1, 1, 1, 3, 3, 3) / 27
    masks = torch.arange(27).reshape(1, 1, 3, 3, 3)
    drawn = changes([2, 0, 1], [False, True, False])
    shown, marked = drawn.apply(volume, masks, Target("masks", 3))
    wanted = masks[0, 0].permute(2, 0, 1).flip(1)
    assert torch.equal(marked[0, 0], wanted)
    torch.testing.assert_close(shown[0, 0, 0] * 27, wanted.float())


def test_axes_of_other_lengths_stay_where_they_are() -> None:
    masks = torch.arange(18).reshape(1, 1, 2, 3, 3)
    volume = masks[:, :, None].float()
    shown, marked = changes([2, 1, 0], [False] * 3).apply(volume, masks, Target("masks", 3))
    assert marked.shape == masks.shape
    assert torch.equal(marked[0, 0], masks[0, 0].transpose(1, 2))  # rows and columns are as long
    assert torch.equal(shown[0, 0, 0], marked[0, 0].float())


def test_tasks_of_pictures_are_drawn_as_before() -> None:
    """What pictures need comes first from the generator, so volumes alter no task of theirs."""
    one, other = (np.random.Generator(np.random.Philox(7)) for _ in range(2))
    drawn = draw_task_changes(one)
    assert bool(drawn.inverted[0]) == (other.random() < 0.25)
    assert bool(drawn.swapped[0]) == (other.random() < 0.1)
    turns = other.integers(4, size=1)
    assert drawn.turns[0] == turns[0] * (other.random() < 0.5)


@pytest.mark.parametrize("augment", ["none", "light", "tasks"])
def test_masks_of_volumes_move_with_their_images(augment: str) -> None:
    """Images that are their masks stay so, but for brightness and for what lies at edges."""
    made = synthetic_structures(6, images=5, size=16, depth=16, channels=1, kinds=("organs",))
    assert made.masks is not None
    masks = (made.masks == 1).astype(np.uint8)
    index = replace(made.index, structures=("structure",))
    source = replace(made, index=index, pixels=255 * masks[:, None], masks=masks)
    protocol = Protocol(
        sources=(source.name,), kind="masks", n_way=(2, 2), n_shot=(2, 2), n_query=1,
        tasks_per_batch=4, drop_small_classes=True, norm="group", seed=0,
    )  # fmt: skip
    loader = EpisodeLoader(TaskSampler([source], protocol), augment=augment)  # type: ignore[arg-type]
    episode = loader.batch(0)
    assert episode.support.labels.shape == (4, 2, 16, 16, 16)
    again = loader.batch(0)
    assert torch.equal(episode.query.labels, again.query.labels)
    for images, labels in (
        (episode.support.inputs, episode.support.labels),
        (episode.query.inputs, episode.query.labels),
    ):
        assert isinstance(images, torch.Tensor)
        for image, mask in zip(images.flatten(0, 1), labels.flatten(0, 1), strict=True):
            pair = torch.stack([image[0].flatten(), mask.float().flatten()])
            assert torch.corrcoef(pair)[0, 1].abs() > (0.5 if augment == "tasks" else 0.99)


def test_made_up_volumes_are_drawn_by_their_seed() -> None:
    made = synthetic_structures(3, images=2, size=16, depth=20, channels=3, seed=4)
    assert made.pixels.shape == (6, 3, 20, 16, 16)
    again = synthetic_structures(3, images=2, size=16, depth=20, channels=3, seed=4)
    np.testing.assert_array_equal(made.pixels, again.pixels)
    np.testing.assert_array_equal(made.masks, again.masks)
    more = synthetic_structures(4, images=2, size=16, depth=20, channels=3, seed=4)
    np.testing.assert_array_equal(made.pixels, more.pixels[:6])  # by its number, not by how many
    with pytest.raises(UnknownNameError, match="sheets"):
        synthetic_structures(1, images=1, size=16, depth=16, kinds=("bones",))
    with pytest.raises(UnknownNameError, match="kind of anatomy"):
        synthetic_structures(1, images=1, size=16, kinds=("sheets",))
    with pytest.raises(SettingsError, match="8 to 256"):
        synthetic_structures(1, images=1, size=16, depth=4)


@pytest.mark.parametrize("kind", ["regions", "organs", "tubes", "sheets", "cells"])
def test_each_kind_marks_something_and_not_all(kind: str) -> None:
    made = synthetic_structures(8, images=2, size=24, depth=24, channels=1, kinds=(kind,))
    assert made.masks is not None
    share = (made.masks > 0).mean((1, 2, 3))
    assert 0 < share.mean() < 0.95
    assert (share > 0.002).mean() > 0.7
    assert made.masks.max() <= 4
