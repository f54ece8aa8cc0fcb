"""The ensemble: folds, choice of options, combination, and what it is better than."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

from medmeta.episode import Episode, InputSpec, LabelledSet, Target, any_tensor
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.learners import build_head
from medmeta.learners._folds import bootstrap, folds_of_values, stratified_folds
from medmeta.learners.classical._combining import (
    stacked_class_weights,
    stacked_value_weights,
    votes,
)
from medmeta.learners.classical._members import MEMBERS
from tests.learners.classical.source_tasks import SIZE, TARGET, episode

VALUES = Target("values", 1)
QUICK = ("nearest_centroid", "kernel_svm", "ridge")


def ensemble(target: Target = TARGET, size: int = SIZE, **options: Any) -> AbstractLearner:
    return build_head("ensemble", {"members": QUICK, **options}, InputSpec(size, ()), target)


def chance() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(("labels", "count"), [([0, 1, 2] * 4, 3), ([0, 0, 1, 1, 1, 1, 2, 2], 2)])
def test_every_fold_has_and_leaves_every_class(labels: list[int], count: int) -> None:
    folds = stratified_folds(np.array(labels), 3, chance())
    assert folds is not None
    assert set(folds) == set(range(count))
    for fold in range(count):
        assert set(np.array(labels)[folds == fold]) == set(labels)
        assert set(np.array(labels)[folds != fold]) == set(labels)
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 1


def test_without_two_images_of_a_class_there_are_no_folds() -> None:
    assert stratified_folds(np.array([0, 0, 1]), 2, chance()) is None
    assert folds_of_values(3, 2, chance()) is None
    folds = folds_of_values(5, 3, chance())
    assert folds is not None
    assert sorted(np.bincount(folds)) == [1, 2, 2]


def test_a_bootstrap_keeps_the_number_of_each_class() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2])
    drawn = [bootstrap(labels, 6, random) for random in [chance()] for _ in range(20)]
    assert all((np.bincount(labels[d]) == [1, 2, 3]).all() for d in drawn)
    assert len({tuple(d) for d in drawn}) > 5


def test_stacked_weights_are_the_best_on_a_grid() -> None:
    random = chance()
    given, values = random.uniform(0.05, 1, (2, 9)), random.normal(size=9)
    answers = np.stack([values + random.normal(size=9), values - random.normal(size=9)])
    grid = np.linspace(0, 1, 1001)
    with np.errstate(divide="ignore"):
        prior = 10 * (np.log(grid) + np.log(1 - grid)) / 2
    likelihoods = [np.log(w * given[0] + (1 - w) * given[1]).sum() for w in grid] + prior
    assert stacked_class_weights(given)[0] == pytest.approx(grid[np.argmax(likelihoods)], abs=2e-2)
    weights = stacked_value_weights(answers, values)
    errors = [np.square(a @ answers - values).sum() for a in (weights, [1, 0], [0, 1])]
    assert weights.sum() == pytest.approx(1)
    assert errors[0] < min(errors[1:])
    np.testing.assert_array_equal(stacked_value_weights(-answers[:1], answers[0]), [1.0])


def test_stacked_weights_of_values_are_the_best_that_add_to_1() -> None:
    """As of scipy's solver of constrained problems, for members that shrink too."""
    random = chance()
    values = random.normal(size=12)
    shrunken, noise = np.array([[0.5], [1.0], [0.3]]), np.array([[0.3], [0.9], [0.05]])
    for _ in range(5):
        answers = shrunken * values + noise * random.normal(size=(3, 12))
        best = minimize(
            lambda w, a=answers: np.square(w @ a - values).sum(),
            np.full(3, 1 / 3),
            bounds=[(0, 1)] * 3,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14},
        )
        weights = stacked_value_weights(answers, values)
        assert weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(weights, best.x, atol=1e-4)
        np.testing.assert_allclose(stacked_value_weights(1e6 * answers, 1e6 * values), weights)


def test_votes_are_counted_and_a_tie_goes_to_the_likelier() -> None:
    shares = torch.tensor([[0.6, 0.4], [0.1, 0.9]])
    torch.testing.assert_close(votes(shares).mean(0), torch.tensor([0.5, 0.5]))
    found = ensemble(combine="vote", copies=2)
    tasks = episode(2, 5)
    logits = found.adapt(tasks.support, TARGET)(tasks.query.inputs)
    assert torch.isfinite(logits).all()
    shares = logits.exp() * 6  # three members of two copies: sixths
    assert float((shares - shares.round()).abs().max()) < 0.01


def test_one_member_of_one_copy_is_that_member_with_its_best_options() -> None:
    """Without two images of each class the first options; with them, those of least error."""
    tasks = episode(3, 5, n_shot=1)
    alone = ensemble(members=("ridge",), copies=1)
    logits = alone.adapt(tasks.support, TARGET)(tasks.query.inputs)
    first = build_head("ridge", MEMBERS["ridge"][1][0], InputSpec(SIZE, ()), TARGET)
    plain = first.adapt(tasks.support, TARGET)(tasks.query.inputs).detach()
    torch.testing.assert_close(logits, plain.softmax(-1).clamp(min=1e-4).log())
    more = episode(6, 5, n_shot=5)
    logits = alone.adapt(more.support, TARGET)(more.query.inputs)
    taken = []
    for options in MEMBERS["ridge"][1]:
        one = build_head("ridge", options, InputSpec(SIZE, ()), TARGET)
        answers = one.adapt(more.support, TARGET)(more.query.inputs).detach()
        wanted = answers.softmax(-1).clamp(min=1e-4).log()
        taken.append([torch.allclose(logits[t], wanted[t], atol=1e-4) for t in range(6)])
    assert np.any(taken, axis=0).all()
    assert not np.all(taken[0])


def of_two_kinds(n_tasks: int) -> Episode:
    """In half of the tasks the classes are shells about one centre, where centroids say nothing."""
    tasks, random = episode(n_tasks, 1), torch.Generator().manual_seed(1)

    def bent(labelled: LabelledSet) -> LabelledSet:
        images = any_tensor(labelled.inputs).clone()
        half = n_tasks // 2
        directions = F.normalize(torch.randn(images[:half].shape, generator=random), dim=2)
        images[:half] = directions * SIZE**0.5 * (1 + labelled.labels[:half, :, None]) / 2
        return LabelledSet(images, labelled.labels, labelled.task_ids)

    return Episode(bent(tasks.support), bent(tasks.query), TARGET)


def accuracy(learner: AbstractLearner) -> float:
    tasks = of_two_kinds(96)
    answers = learner.adapt(tasks.support, TARGET)(tasks.query.inputs)
    return float((answers.argmax(-1) == tasks.query.labels).float().mean())


@pytest.fixture(scope="module")
def mean_member() -> float:
    return float(np.mean([accuracy(ensemble(members=(n,), copies=1, folds=2)) for n in QUICK]))


@pytest.mark.parametrize("combine", ["average", "vote", "stacking"])
def test_it_is_better_than_its_mean_member(combine: str, mean_member: float) -> None:
    assert accuracy(ensemble(combine=combine, folds=2)) > mean_member


@pytest.mark.parametrize("combine", ["average", "vote", "stacking"])
def test_chance_comes_from_the_task_alone(combine: str) -> None:
    tasks = episode(3, 5)
    learner = ensemble(members=("nearest_centroid", "sgd"), combine=combine, folds=2)
    together = learner.adapt(tasks.support, TARGET)(tasks.query.inputs)
    for t in range(3):
        alone = tasks.tasks(t, t + 1)
        found = learner.adapt(alone.support, TARGET)(alone.query.inputs)
        torch.testing.assert_close(found[0], together[t])
    other = LabelledSet(tasks.support.inputs, tasks.support.labels, torch.tensor([8, 9, 10]))
    assert not torch.allclose(learner.adapt(other, TARGET)(tasks.query.inputs), together)


@pytest.mark.parametrize("labels", [[0, 2, 0, 2, 2], [1, 1], [1], [0, 1, 2]])
def test_classes_without_images_are_never_likeliest(labels: list[int]) -> None:
    images = torch.randn(1, len(labels), SIZE, generator=torch.Generator().manual_seed(0))
    support = LabelledSet(images, torch.tensor([labels]), torch.tensor([3]))
    found = ensemble(members=QUICK[:2]).adapt(support, TARGET)(images)
    assert torch.isfinite(found).all()
    assert set(found.argmax(-1).flatten().tolist()) <= set(labels)


@pytest.mark.parametrize("combine", ["average", "vote", "stacking"])
@pytest.mark.parametrize("members", [None, ("ridge",), ("sgd",), ("mlp",)])
def test_twice_a_number_is_learned_from_ten_points(
    members: tuple[str, ...] | None, combine: str
) -> None:
    """By normal equations, by gradient descent, by a small network, and by all three."""
    points = torch.linspace(1, 10, 10)[None, :, None]
    learner = ensemble(VALUES, 1, members=members, combine=combine)
    predictor = learner.adapt(LabelledSet(points, 2 * points, torch.zeros(1)), VALUES)
    between = points[:, 1:] - 0.5
    assert float((predictor(between) - 2 * between).square().mean()) < 1e-2  # values vary by 33


def test_wrong_members_are_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"nearest_centroid takes no values; members .*ridge"):
        ensemble(VALUES, members="ridge, nearest_centroid")
    with pytest.raises(SettingsError, match=r"maml is no member of an ensemble; members .*svm"):
        ensemble(members=("maml",))
    with pytest.raises(SettingsError, match=r"members: .*at least one member"):
        ensemble(members=())
    with pytest.raises(UnsupportedTaskError, match="at least two classes"):
        ensemble(Target("classes", 1))


def test_it_takes_the_target_that_it_was_built_for() -> None:
    support = LabelledSet(torch.zeros(1, 4, SIZE), torch.zeros(1, 4, 1), torch.zeros(1))
    with pytest.raises(UnsupportedTaskError, match="ensemble takes classes, not values"):
        ensemble().adapt(support, VALUES)
    assert any_tensor(support.inputs).shape == (1, 4, SIZE)
