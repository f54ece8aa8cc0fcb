"""Tasks of masks: drawn by structure, patients apart, masks moved with their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.episodes.structures import task_labels
from medmeta.episodes.task_augmentation import TaskChanges
from medmeta.errors import SamplingError

SIZE = 16


def source(values: Sequence[Sequence[int]], *, families: Sequence[str] | None = None) -> Source:
    """An image for each entry; its mask holds these values, row by row, and the image the same."""
    masks = np.zeros((len(values), SIZE, SIZE), dtype=np.uint8)
    for number, held in enumerate(values):
        for place, value in enumerate(held):
            masks[number, 2 + 3 * place : 4 + 3 * place, 3:9] = value
    pixels = np.stack([masks * np.uint8(40)] * 3, axis=1)
    pixels[:, :, 0, 0] = np.arange(len(values), dtype=np.uint8)[:, None]  # no two are equal
    made = Source.from_arrays("made", pixels, ["x"] * len(values))
    most = max(max(held, default=0) for held in values)
    names = tuple(f"s{value}" for value in range(1, most + 1))
    others = {"family": Column.from_texts(families)} if families else {}
    index = replace(made.index, labels=None, structures=names, others=others)
    return replace(made, index=index, masks=masks)


def protocol(**changed: Any) -> Protocol:
    told = {"sources": ("made",), "kind": "masks", "n_way": (2, 2), "n_shot": (2, 2), "n_query": 2}
    return Protocol.model_validate({**told, **changed})


def test_support_and_query_hold_the_structure_and_share_no_patient() -> None:
    made = source([[1], [2], [1, 2], [1], [2], [1], [2], [1]] * 2)
    patients = Column.from_texts([f"p{i // 2}" for i in range(16)])
    made = replace(made, index=replace(made.index, patients=patients))
    sampler = TaskSampler([made], protocol())
    for task in range(20):
        drawn = sampler.draw(task)
        (value,) = drawn.values
        assert drawn.classes == ("background", f"s{value}")
        rows = np.concatenate([drawn.support_rows, drawn.query_rows])
        assert made.marked[rows, value].all()
        groups = [
            set(made.groups[part].tolist()) for part in (drawn.support_rows, drawn.query_rows)
        ]
        assert not groups[0] & groups[1]


def test_several_structures_are_of_one_family() -> None:
    made = source([[1, 2, 3]] * 8 + [[1, 2]] * 8, families=["a"] * 8 + ["b"] * 8)
    sampler = TaskSampler([made], protocol(n_way=(4, 4)))
    drawn = sampler.draw(0)
    assert sorted(drawn.values) == [1, 2, 3]
    assert all(row < 8 for row in drawn.support_rows)
    with pytest.raises(SamplingError, match="3 usable structures"):
        TaskSampler([made], protocol(n_way=(5, 5)))


def test_other_structures_are_background_and_255_is_unknown() -> None:
    mask = np.array([[0, 1, 2], [3, 255, 2]], dtype=np.uint8)
    assert task_labels(mask, [2, 3]).tolist() == [[0, 0, 1], [2, -1, 1]]


def test_a_source_without_masks_says_so() -> None:
    plain = replace(source([[1]] * 6), masks=None)
    with pytest.raises(SamplingError, match="has no masks"):
        TaskSampler([plain], protocol())


@pytest.mark.parametrize("augment", ["none", "light", "modality"])
def test_masks_move_with_their_images(augment: str) -> None:
    made = source([[1]] * 12)
    sampler = TaskSampler([made], protocol(tasks_per_batch=6))
    loader = EpisodeLoader(sampler, augment=augment)  # type: ignore[arg-type]
    episode = loader.batch(0)
    assert episode.target == Target("masks", 2)
    assert episode.support.labels.shape == (6, 2, SIZE, SIZE)
    for part in (episode.support, episode.query):
        images = part.inputs
        assert isinstance(images, torch.Tensor)
        inside = images[:, :, 1][part.labels == 1].mean()
        outside = images[:, :, 1][part.labels == 0].mean()
        assert inside - outside > 0.35  # 40 of 255 grey levels are 0.63, less what is blurred
    again = loader.batch(0)
    assert torch.equal(again.query.labels, episode.query.labels)


def test_whole_tasks_become_others() -> None:
    images = torch.arange(16.0).reshape(1, 1, 1, 4, 4) / 8 - 1
    masks = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    masks[..., 0, 0], masks[..., 3, 3] = 1, -1
    as_they_lie = np.arange(3)[None], np.zeros((1, 3), dtype=bool)
    changes = TaskChanges(np.array([True]), np.array([True]), np.array([1]), *as_they_lie)
    shown, marked = changes.apply(images, masks, Target("masks", 2))
    assert shown[0, 0, 0, 3, 0] == -images[0, 0, 0, 0, 0]  # a quarter turn, dark for bright
    assert marked[0, 0, 3, 0] == 0
    assert marked[0, 0, 0, 3] == -1
    assert int((marked == 1).sum()) == 14
    _, kept = changes.apply(images, masks, Target("masks", 3))
    assert int((kept == 1).sum()) == 1  # of several structures none becomes the background
