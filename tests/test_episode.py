"""The words that everything else is said in."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from medmeta.episode import Episode, InputSpec, LabelledSet, Target, any_tensor, map_inputs


def labelled(n: int = 3, *, named: bool = False) -> LabelledSet:
    images = torch.arange(4.0 * n * 2).reshape(4, n, 2)
    inputs = {"t1": images, "t2": images + 1} if named else images
    return LabelledSet(inputs, torch.arange(4 * n).reshape(4, n), torch.arange(4))


@pytest.mark.parametrize(
    ("size", "kind"),
    [((), "vector"), ((9,), "signal"), ((8, 9), "image"), ((7, 8, 9), "volume")],
)
def test_the_kind_of_an_input_is_its_number_of_axes(size: tuple[int, ...], kind: str) -> None:
    spec = InputSpec(2, size)
    assert spec.kind == kind
    assert spec.shape == (2, *size)


@pytest.mark.parametrize("named", [False, True])
def test_tasks_are_views_of_the_right_rows(named: bool) -> None:
    whole = labelled(named=named)
    part = whole.tasks(1, 3)
    assert (part.n_tasks, part.n_examples) == (2, 3)
    assert part.task_ids.tolist() == [1, 2]
    assert torch.equal(part.labels, whole.labels[1:3])
    assert torch.equal(any_tensor(part.inputs), any_tensor(whole.inputs)[1:3])
    assert any_tensor(part.inputs).data_ptr() == any_tensor(whole.inputs)[1:].data_ptr()


def test_an_episode_s_tasks_have_support_query_and_target() -> None:
    episode = Episode(labelled(3), labelled(2), Target("classes", 2)).tasks(3, 4)
    assert (episode.support.labels.tolist(), episode.query.labels.tolist()) == (
        [[9, 10, 11]],
        [[6, 7]],
    )
    assert episode.target == Target("classes", 2)


def test_other_inputs_keep_labels_and_ids() -> None:
    whole = labelled()
    other = whole.with_inputs(torch.zeros(4, 3, 9))
    assert other.labels is whole.labels
    assert other.task_ids is whole.task_ids
    assert any_tensor(other.inputs).shape == (4, 3, 9)


def test_inputs_are_mapped_by_name() -> None:
    mapped = map_inputs(lambda x: x + 1, {"t1": torch.zeros(1), "t2": torch.ones(1)})
    assert isinstance(mapped, dict)
    assert {name: float(value) for name, value in mapped.items()} == {"t1": 1.0, "t2": 2.0}


@pytest.mark.parametrize("value", [Target("classes", 2), InputSpec(1, ()), labelled()])
def test_values_cannot_be_changed(value: object) -> None:
    assert dataclasses.is_dataclass(value)
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
