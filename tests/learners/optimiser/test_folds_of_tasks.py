"""Folds that part no patient: against sets, against a loss fold by fold, and against chance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from medmeta.check_tasks import TaskMaker
from medmeta.episode import Episode, InputSpec, LabelledSet, Target, any_tensor
from medmeta.learners import build_learner
from medmeta.learners._mini_batches import together
from medmeta.learners.gradient.maml import MAML, MAMLConfig
from medmeta.learners.optimiser._folds_of_tasks import (
    Fold,
    fold_of_each,
    folds_of_tasks,
    grouped_folds,
)
from medmeta.learners.optimiser.metal import METAL, METALConfig
from medmeta.tasks import TaskMap, preferring
from medmeta.training.recorded import Waits
from tests.learners.gradient.tiny_tasks import TARGET, episode, gradients_of, network

TWO = Target("classes", 2)


def tiny(**options: Any) -> METAL:
    config = METALConfig(**{"hidden": 6, "proposal_weight": 0.2, **options})
    learner = METAL(network(), config, target=TARGET, max_way=3, input_kind="vector").double()
    nn.init.uniform_(learner.meta_network.output.weight, -0.7, 0.7)
    return learner


def with_groups(tasks: Episode, groups: Tensor) -> Episode:
    n = tasks.support.n_examples
    support = replace(tasks.support, groups=groups[:, :n])
    return replace(tasks, support=support, query=replace(tasks.query, groups=groups[:, n:]))


def counted(fold: Fold, task: int) -> tuple[dict[int, float], dict[int, float]]:
    """What each image counts on either side of a fold, where it counts anything."""
    sides = []
    pairs = ((fold.learned_from, fold.learned_shares), (fold.left_out, fold.left_out_shares))
    for listed, shares in pairs:
        assert shares is not None
        side: dict[int, float] = {}
        for image in listed[task].tolist():
            side[image] = side.get(image, 0.0) + float(shares[task, image])
        sides.append({image: count for image, count in side.items() if count})
    return sides[0], sides[1]


def test_with_twelve_patients_of_two_images_none_is_on_both_sides() -> None:
    labels = torch.tensor([0] * 6 + [1] * 6).repeat(2)[None]
    groups = torch.arange(12).repeat_interleave(2)[None]
    folds = list(grouped_folds(labels, groups, 12, 2))
    left_out = []
    for fold in folds:
        learned, held = counted(fold, 0)
        assert {int(groups[0, i]) for i in learned}.isdisjoint(int(groups[0, i]) for i in held)
        assert [sum(int(labels[0, i]) == c for i in held) for c in (0, 1)] == [6, 6]
        assert learned == pytest.approx({i: 1 / 12 for i in range(24) if i not in held})
        assert held == pytest.approx({i: 1 / 24 for i in held})
        left_out += list(held)
    assert sorted(left_out) == list(range(24))


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_patients_of_any_sizes_stay_whole_and_each_class_is_left_to_learn_from(
    seed: int, folds: int
) -> None:
    """Patients with images of both classes too; support and query share none."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(30).remainder(3).expand(4, 30)
    groups = torch.randint(5, (4, 30), generator=random) + 10 * (torch.arange(30) >= 12)
    for fold in grouped_folds(labels, groups, 12, folds):
        assert fold.learned_from.shape[1] + fold.left_out.shape[1] == 30
        for task in range(4):
            learned, held = counted(fold, task)
            patients = [{int(groups[task, i]) for i in side} for side in (learned, held)]
            assert patients[0].isdisjoint(patients[1])
            classes = [{int(labels[task, i]) for i in side} for side in (learned, held)]
            assert classes[1] <= classes[0]
            assert sum(learned.values()) == pytest.approx(1)


def test_where_a_class_is_one_patient_s_on_each_side_these_are_the_folds() -> None:
    """Patients with both classes are dealt out by their first image, the large ones first."""
    labels = torch.tensor([[0, 0, 0, 1, 0, 0, 0, 1]])
    groups = torch.tensor([[5, 5, 7, 7, 9, 9, 9, 8]])  # in turn 9, 5, 7 and 8
    assert fold_of_each(labels, groups, 4, 2).tolist() == [[1, 1, 0, 0, 0, 0, 0, 1]]
    labels = torch.tensor([[0, 0, 1, 1, 0, 0, 1, 1]])
    mixed = torch.tensor([[7, 7, 7, 7, 9, 9, 9, 9]])
    assert fold_of_each(labels, mixed, 4, 2).tolist() == [[0] * 4 + [1] * 4]
    three = torch.tensor([[7, 7, 7, 7, 9, 9, 4, 4]])  # in turn 7, 9, 4: the same fold for 7 and 4
    assert fold_of_each(labels, three, 4, 2).tolist() == [[0] * 4 + [1] * 4]


def test_values_are_dealt_out_by_the_mean_of_a_patient() -> None:
    values = torch.tensor([[[5.0], [1.0], [4.0], [2.0], [9.0], [0.0]]])
    groups = torch.tensor([[1, 2, 1, 3, 4, 2]])  # means 4.5, 0.5, 2 and 9
    assert fold_of_each(values, groups, 3, 2).tolist() == [[0, 0, 0, 1, 1, 0]]


def test_groups_are_kept_when_support_and_query_come_together() -> None:
    tasks = episode()
    groups = torch.arange(22).reshape(2, 11)
    grouped = with_groups(tasks, groups)
    both = together(grouped.support, grouped.query)
    assert both.groups is not None
    assert torch.equal(both.groups, groups)
    assert together(grouped.support, tasks.query).groups is None


@pytest.mark.parametrize("inner_checkpoint", [False, True])
@pytest.mark.parametrize("folds", [2, 3])
def test_where_each_image_is_a_group_the_loss_is_that_without_groups(
    folds: int, inner_checkpoint: bool
) -> None:
    learner = tiny(inner_steps=2, folds=folds, inner_checkpoint=inner_checkpoint)
    labels = torch.tensor([[0, 1, 2, 0, 1, 2], [2, 2, 1, 1, 0, 0]])
    tasks = episode()
    tasks = replace(
        tasks,
        support=replace(tasks.support, labels=labels),
        query=replace(tasks.query, labels=labels[:, :5]),
    )
    alone = torch.arange(11).flip(0).expand(2, 11)
    losses = learner.loss(tasks), learner.loss(with_groups(tasks, alone))
    torch.testing.assert_close(losses[1], losses[0])
    wanted = gradients_of(learner, losses[0])
    for name, found in gradients_of(learner, losses[1]).items():
        torch.testing.assert_close(found, wanted[name], rtol=1e-6, atol=1e-11)


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
def test_the_loss_is_that_of_a_descent_on_each_fold_by_torch(task_map: TaskMap) -> None:
    """One patient has four images: the folds have 7 and 4 of 11, where 6 and 5 have a place."""
    config = METALConfig(inner_rate=0.4, proposal_weight=0.0)
    learner = METAL(network(), config, target=TARGET, max_way=3, input_kind="vector").double()
    tasks = episode(n_tasks=2)
    labels = torch.tensor([[0, 0, 0, 1, 2, 2, 0, 1, 1, 2, 0]] * 2)
    groups = torch.tensor([[1, 1, 1, 2, 3, 3, 4, 5, 5, 6, 4], [1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 9]])
    tasks = with_groups(
        replace(
            tasks,
            support=replace(tasks.support, labels=labels[:, :6]),
            query=replace(tasks.query, labels=labels[:, 6:]),
        ),
        groups,
    )
    both = together(tasks.support, tasks.query)
    wanted = []
    for t, images in enumerate(any_tensor(both.inputs)):
        total = torch.zeros(()).double()
        for fold in grouped_folds(both.labels, groups, 6, 2):
            learned, held = counted(fold, t)
            some, weights = list(learned), dict(learner.network.named_parameters())
            loss = F.cross_entropy(
                functional_call(learner.network, weights, (images[some],)), labels[t, some]
            )
            found = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            moved = {n: w - 0.4 * g for (n, w), g in zip(weights.items(), found, strict=True)}
            logits = functional_call(learner.network, moved, (images[list(held)],))
            each = F.cross_entropy(logits, labels[t, list(held)], reduction="none")
            total = total + each @ torch.tensor(list(held.values()), dtype=torch.float64)
        wanted.append(total)
    with preferring(task_map):
        torch.testing.assert_close(learner.loss(tasks), torch.stack(wanted))


def of_patients(first: int, n_tasks: int) -> LabelledSet:
    """Three patients of each of two classes, two images each; classes have nothing in common."""
    random = torch.Generator().manual_seed(first)
    prints = torch.randn(n_tasks, 6, 32, generator=random).repeat_interleave(2, 1)
    images = prints + 0.1 * torch.randn(n_tasks, 12, 32, generator=random)
    labels = torch.tensor([0] * 6 + [1] * 6).expand(n_tasks, 12)
    groups = (torch.arange(6).repeat_interleave(2) + first).expand(n_tasks, 12)
    return LabelledSet(images, labels, torch.arange(n_tasks), groups)


def test_a_patient_s_fingerprint_is_worth_nothing() -> None:
    """With a patient on both sides, five steps on these tasks get well below chance's loss."""
    same = nn.Linear(32, 32)
    nn.init.eye_(same.weight)
    nn.init.zeros_(same.bias)
    options = {"inner_steps": 5, "inner_rate": 0.1}
    learner = build_learner("metal", options, InputSpec(32, ()), TWO, encoder=same)
    tasks = Episode(of_patients(0, 64), of_patients(6, 64), TWO)
    unknown = replace(tasks, query=replace(tasks.query, groups=None))
    with torch.no_grad():
        known, parted = (float(learner.loss(given).mean()) for given in (tasks, unknown))
    assert known > math.log(2)
    assert parted < known - 0.1


def test_nothing_in_the_folds_waits_for_a_device() -> None:
    tasks = Episode(of_patients(0, 3), of_patients(6, 3), TWO)
    with Waits("cpu") as waits:
        list(folds_of_tasks(together(tasks.support, tasks.query), 12, 3))
    assert waits.operation == ""


def test_it_is_maml_s_loss_where_the_folds_are_support_and_query() -> None:
    """Each side is one patient's: the mean of both directions, as there are as many images."""
    tasks = TaskMaker(InputSpec(4, ()), TARGET).episode(2, n_shot=2, n_query=2, seed=1)
    tasks = with_groups(tasks, torch.tensor([[1] * 6 + [2] * 6] * 2))
    net, options = network().float(), {"inner_rate": 0.3, "inner_steps": 2}
    metal = METAL(net, METALConfig(**options), target=TARGET, max_way=3, input_kind="vector")
    maml = MAML(net, MAMLConfig(**options), target=TARGET, max_way=3, input_kind="vector")
    back = Episode(tasks.query, tasks.support, TARGET)
    wanted = (maml.loss(tasks) + maml.loss(back)) / 2
    torch.testing.assert_close(metal.loss(tasks), wanted)
