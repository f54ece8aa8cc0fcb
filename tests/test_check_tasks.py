"""The easy tasks that learners are checked on."""

from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_leaves

from medmeta.check_tasks import SMALL, TaskMaker, default_target, input_spec_for
from medmeta.episode import Episode, InputSpec, Target, any_tensor
from medmeta.errors import SettingsError
from medmeta.learner import Traits

CLASSES = Target("classes", 3)


def same(first: Episode, second: Episode) -> bool:
    return all(
        torch.equal(any_tensor(a.inputs), any_tensor(b.inputs)) and torch.equal(a.labels, b.labels)
        for a, b in ((first.support, second.support), (first.query, second.query))
    )


@pytest.mark.parametrize("spec", SMALL.values(), ids=SMALL)
def test_shapes_of_classes(spec: InputSpec) -> None:
    episode = TaskMaker(spec, CLASSES).episode(2, n_shot=3, n_query=4, seed=1)
    for labelled, n in ((episode.support, 9), (episode.query, 12)):
        shapes = [x.shape for x in tree_leaves(labelled.inputs)]
        assert shapes == [x.shape for x in tree_leaves(spec.blank(2, n))]
    assert [torch.bincount(row).tolist() for row in episode.support.labels] == [[3, 3, 3]] * 2
    assert episode.support.labels.dtype == torch.int64
    assert episode.support.task_ids.tolist() == episode.query.task_ids.tolist() == [100, 101]


def test_values_lie_between_minus_one_and_one() -> None:
    maker = TaskMaker(SMALL["image"], Target("values", 2))
    episode = maker.episode(2, n_shot=3, n_query=1, seed=1)
    assert episode.support.labels.shape == (2, 12, 2)
    assert float(episode.support.labels.abs().max()) <= 1
    assert episode.support.labels.dtype == torch.float32


def test_a_task_is_a_function_of_its_seed() -> None:
    maker = TaskMaker(SMALL["vector"], CLASSES)
    one, again, other = (maker.episode(2, n_shot=2, n_query=2, seed=s) for s in (5, 5, 6))
    assert same(one, again)
    assert not same(one, other)


def test_without_noise_images_of_a_class_are_its_pattern() -> None:
    maker = TaskMaker(SMALL["image"], CLASSES)
    episode = maker.episode(2, n_shot=2, n_query=1, seed=0, noise=0.0)
    images, queries = any_tensor(episode.support.inputs), any_tensor(episode.query.inputs)
    assert torch.equal(images[:, ::2], images[:, 1::2])
    assert torch.equal(images[:, ::2], queries)


def test_a_learner_is_given_the_first_kind_of_input_it_takes() -> None:
    assert input_spec_for(Traits()) == SMALL["image"]
    assert input_spec_for(Traits(input_kinds=frozenset({"volume"}))) == SMALL["volume"]
    with pytest.raises(SettingsError, match="say input_spec"):
        input_spec_for(Traits(input_kinds=frozenset({"graph"})))


@pytest.mark.parametrize(
    ("traits", "target"),
    [
        (Traits(), Target("classes", 3)),
        (Traits(max_way=2), Target("classes", 2)),
        (Traits(max_way=9), Target("classes", 3)),
        (Traits(targets=frozenset({"values"})), Target("values", 1)),
        (Traits(targets=frozenset({"values", "classes"})), Target("classes", 3)),
    ],
)
def test_the_target_is_one_that_the_learner_takes(traits: Traits, target: Target) -> None:
    assert default_target(traits, 3) == target
