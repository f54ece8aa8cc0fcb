"""Writes of the controller against arithmetic; the laws of the memory; it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learners import build_head
from medmeta.learners.memory.meta_memory import Memory, MetaMemoryConfig, MetaMemoryHead, saturated
from tests.learners.gradient.tiny_tasks import assert_slopes_are_differences, gradients_of
from tests.learners.memory.nuisance_tasks import FIVE, SIZE, accuracy, episode, train
from tests.learners.normal_numbers import normal

TWO, THREE = Target("classes", 2), Target("classes", 3)
LABELS = torch.tensor([[2, 0, 1, 0, 0, 1], [0, 1, 2, 2, 2, 2]])
WRITINGS = ("one_by_one", "together")


def head(size: int = 5, **options: Any) -> MetaMemoryHead:
    """In double precision, small, with weights of its own in every place."""
    torch.manual_seed(0)
    config = MetaMemoryConfig(**{"slots": 3, "memory_size": 4, "hidden": 3} | options)
    found = MetaMemoryHead(config, size).double()
    with torch.no_grad():
        for i, parameter in enumerate(found.parameters()):
            parameter.add_(0.2 * normal(*parameter.shape, seed=i))
    return found


def one_number(write: float, reuse: float, erase: float, forget: float) -> MetaMemoryHead:
    """Keys of two numbers, maps that are the identity, and a controller that decides always so."""
    config = MetaMemoryConfig(slots=2, memory_size=2, hidden=1, sharpness=1.0, scale=4.0)
    found = MetaMemoryHead(config, 2)
    gates = torch.tensor([write, reuse, *[erase] * 4, forget])
    with torch.no_grad():
        found.to_key.copy_(torch.eye(2))
        found.to_content.copy_(torch.eye(2))
        found.controller.outer.weight.zero_()
        found.controller.outer.bias.copy_(gates.logit())
        found.log_crowding.fill_(math.log(3.0))
    return found


def axes(labels: list[list[float]]) -> Memory:
    """Two slots whose keys and contents are the axes."""
    return Memory(torch.eye(2)[None], 10 * torch.eye(2)[None], torch.tensor([labels]))


def answers(learner: MetaMemoryHead, images: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    support = LabelledSet(images, labels, torch.zeros(len(labels)))
    return learner.adapt(support, THREE)(queries).detach()


def test_one_write_by_hand() -> None:
    """Free slots: the address is the softmax of the cosines 1 and 0, times the write gate."""
    learner = one_number(write=0.5, reuse=0.5, erase=0.25, forget=0.125)
    image, label = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    after = learner.write(axes([[0.0, 0.0], [0.0, 0.0]]), image, label)
    near = math.e / (math.e + 1)
    first, second = 0.5 * near, 0.5 * (1 - near)
    assert after.keys[0, 0].tolist() == pytest.approx([1 - first / 4 + first, 0.0])
    assert after.keys[0, 1].tolist() == pytest.approx([second, 1 - second / 4])
    assert after.contents[0, 0].tolist() == pytest.approx([10 * (1 - first / 4) + first, 0.0])
    assert after.labels[0].tolist() == [[0.0, pytest.approx(first)], [0.0, pytest.approx(second)]]


@pytest.mark.parametrize("reuse", [0.25, 0.75])
def test_a_slot_in_use_is_written_the_less_the_less_reuse_is_wanted(reuse: float) -> None:
    learner = one_number(write=0.5, reuse=reuse, erase=0.25, forget=0.125)
    image, label = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    after = learner.write(axes([[4.0, 0.0], [0.0, 0.0]]), image, label)
    # Four images in the first slot are 4/5 in use; crowding costs 3 times that.
    share = 1 / (1 + math.exp(-(1 - (1 - reuse) * 3 * 0.8)))
    assert float(after.labels[0, 0, 1].detach()) == pytest.approx(0.5 * share, rel=1e-5)
    assert float(after.labels[0, 0, 0].detach()) == pytest.approx(
        4 * (1 - 0.5 * share / 8), rel=1e-5
    )


def test_a_closed_gate_writes_nothing() -> None:
    learner = one_number(write=1e-9, reuse=0.5, erase=0.9, forget=0.9)
    before = axes([[1.0, 0.0], [0.0, 2.0]])
    after = learner.write(before, torch.tensor([[[0.6, 0.8]]]), torch.tensor([[[0.0, 1.0]]]))
    torch.testing.assert_close(after.rows, before.rows)


def test_one_by_one_is_a_loop_of_single_writes() -> None:
    learner, images = head(), normal(1, 6, 5)
    queries, labels = normal(1, 2, 5, seed=1), LABELS[:1]
    hot, along = F.one_hot(labels, 3).double(), F.normalize(images, dim=-1)
    memory = Memory(
        learner.first_keys[None], learner.first_contents[None], torch.zeros(1, 3, 3).double()
    )
    for i in range(6):
        memory = learner.write(memory, along[:, [i]], hot[:, [i]])
    asked = F.normalize(torch.cat([images, queries], 1), dim=-1) @ learner.to_key.mT
    likeness = torch.cosine_similarity(asked[:, :, None], memory.keys[:, None], dim=-1)
    weights = (likeness * learner.log_sharpness.exp()).softmax(-1)
    context = asked + weights @ memory.contents
    means = [context[0, :6][labels[0] == n].mean(0) for n in range(3)]
    for q in range(2):
        read = (weights @ memory.labels)[0, 6 + q]
        for n in range(3):
            cosine = torch.cosine_similarity(context[0, 6 + q], means[n], dim=0)
            wanted = cosine * learner.log_scale.exp()
            wanted = wanted + learner.label_weight * read[n] / (1 + read.sum())
            found = answers(learner, images, labels, queries)[0, q, n]
            torch.testing.assert_close(found, wanted.detach())


@pytest.mark.parametrize("writing", WRITINGS)
def test_labels_in_the_memory_are_those_written_less_those_forgotten(writing: str) -> None:
    """Without forgetting, slots hold as much of a class as was written of it."""
    learner = head(writing=writing)
    with torch.no_grad():
        learner.controller.outer.bias[-1] = -1e9
        learner.controller.outer.bias[0] = 1e9
    hot = F.one_hot(LABELS, 3).double()
    empty = learner._first_memory(normal(2, 6, 5), 3)
    memory = learner._write_all(empty, F.normalize(normal(2, 6, 5), dim=-1), hot)
    torch.testing.assert_close(memory.labels.sum(1), hot.sum(1))


@pytest.mark.parametrize("writing", WRITINGS)
def test_names_of_the_classes_do_not_matter_and_order_as_the_traits_say(writing: str) -> None:
    learner, images, queries = head(writing=writing), normal(2, 6, 5), normal(2, 2, 5, seed=1)
    plain = answers(learner, images, LABELS, queries)
    renamed = torch.tensor([1, 2, 0])
    torch.testing.assert_close(
        answers(learner, images, renamed[LABELS], queries)[..., renamed], plain
    )
    order = [3, 0, 5, 1, 4, 2]
    turned = answers(learner, images[:, order], LABELS[:, order], queries)
    assert learner.traits.order_free == (writing == "together")
    assert torch.allclose(turned, plain, rtol=1e-9) == learner.traits.order_free


def test_with_one_shot_of_one_class_and_many_of_another_it_answers() -> None:
    labels = torch.tensor([[0, 1, 1, 1, 1, 1]])
    found = answers(head(), normal(1, 6, 5), labels, normal(1, 2, 5, seed=1))
    assert bool(torch.isfinite(found).all())
    assert saturated(torch.tensor([0.0, 1.0, 3.0])).tolist() == [0.0, 0.5, 0.75]


@pytest.mark.parametrize("writing", WRITINGS)
def test_the_gradient_is_that_of_finite_differences(writing: str) -> None:
    learner = head(3, writing=writing, scale=2.0, sharpness=2.0)
    support = LabelledSet(normal(2, 6, 3), LABELS, torch.zeros(2))
    query = LabelledSet(normal(2, 3, 3, seed=1), LABELS[:, :3], torch.zeros(2))
    assert_slopes_are_differences(learner, Episode(support, query, THREE))


def test_slots_and_controller_are_learned() -> None:
    torch.manual_seed(0)
    learner = build_head("meta_memory", {"memory_size": 8}, InputSpec(SIZE, ()), FIVE)
    found = gradients_of(learner, learner.loss(episode(1, 4)))
    assert all(bool((gradient != 0).any()) for gradient in found.values())


@pytest.mark.parametrize("writing", WRITINGS)
def test_it_learns_which_numbers_tell_the_classes_apart(writing: str) -> None:
    torch.manual_seed(0)
    options = {"writing": writing, "memory_size": 16}
    learner = build_head("meta_memory", options, InputSpec(SIZE, ()), FIVE)
    before = accuracy(learner)
    train(learner, 60)
    assert before < 0.6
    assert accuracy(learner) > before + 0.3
