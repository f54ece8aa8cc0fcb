"""Estimators per task: the same as scikit-learn alone, seeded by task, sound on odd supports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import (
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.neighbors import NearestCentroid
from sklearn.svm import SVC
from threadpoolctl import threadpool_info

from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.learners import LEARNERS, build_head, build_learner
from medmeta.learners.classical._estimators import LEAST_PROBABILITY, on_grid, task_seed
from medmeta.learners.classical.gradient_boosting import BoostedTrees, GradientBoostingConfig
from medmeta.learners.classical.sgd import LeastSquaresByDescent, SGDConfig
from medmeta.training.loop import Trainer
from medmeta.training.settings import TrainingSettings

SIZE = 6
NAMES = [
    "gradient_boosting",
    "kernel_svm",
    "mlp",
    "nearest_centroid",
    "random_forest",
    "sgd",
]
QUICK: dict[str, dict[str, Any]] = {
    "random_forest": {"trees": 5},
    "gradient_boosting": {"rounds": 5},
}


def head(name: str, target: Target) -> AbstractLearner:
    return build_head(name, QUICK.get(name), InputSpec(SIZE, ()), target)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def support(labels: list[int], *ids: int) -> LabelledSet:
    images = normal(len(ids), len(labels), SIZE)
    images += 2 * torch.tensor(labels)[None, :, None]
    return LabelledSet(images, torch.tensor([labels] * len(ids)), torch.tensor(ids))


def standardised(labelled: LabelledSet, queries: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    assert isinstance(labelled.inputs, torch.Tensor)
    images = labelled.inputs[0].double().numpy()
    mean, own, n = images.mean(0), images.var(0), len(images)
    spread = np.sqrt((n * own + 100 * own.mean()) / (n + 100))
    return (images - mean) / spread, (queries[0].double().numpy() - mean) / spread


LABELS = [0, 1, 2, 0, 1, 2, 2]


def test_all_plain_heads_are_there() -> None:
    plain = {n for n, s in LEARNERS.items() if s.family == "classical" and "meta_" not in n}
    assert plain == {*NAMES, "ensemble"}


def test_boosting_of_values_is_scikit_learns() -> None:
    """On 40 images with 3 features no two splits are equally good."""
    images, values = normal(40, 3).double().numpy(), normal(40, seed=2).double().numpy()
    config = GradientBoostingConfig(rounds=20)
    ours = BoostedTrees(config, 7).fit(images, on_grid(values)).predict(images)
    other = GradientBoostingRegressor(
        n_estimators=20, max_depth=2, max_features="sqrt", random_state=7
    )
    np.testing.assert_allclose(ours, other.fit(images, values).predict(images), atol=1e-5)


@pytest.mark.parametrize("size", [1, 200])
def test_descent_of_values_nears_the_least_squares(size: int) -> None:
    images, values = normal(30, size).double().numpy(), normal(30, seed=2).double().numpy()
    penalty = 0.1
    config = SGDConfig(penalty=penalty, passes=2000)
    found = LeastSquaresByDescent(config, 3).fit(images, values)
    design = np.c_[images, np.ones(30)]  # the constant has no penalty
    ridge = np.diag([penalty * 30.0] * size + [0.0])
    weights = np.linalg.solve(design.T @ design + ridge, design.T @ values)
    gap = np.abs(found.predict(images) - design @ weights).max()
    assert gap < 0.2 * values.std()


def test_forest_is_scikit_learns_and_floored() -> None:
    given, queries = support(LABELS, 11), normal(1, 4, SIZE, seed=1)
    found = head("random_forest", Target("classes", 3)).adapt(given, Target("classes", 3))(queries)
    images, asked = standardised(given, queries)
    seed = task_seed(torch.tensor(11))
    other = RandomForestClassifier(5, random_state=seed).fit(images, LABELS)
    expected = np.log(np.maximum(other.predict_proba(asked), LEAST_PROBABILITY))
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_forest_of_values_is_scikit_learns() -> None:
    target, queries = Target("values", 2), normal(1, 4, SIZE, seed=1)
    given = LabelledSet(normal(1, 8, SIZE), normal(1, 8, 2, seed=2), torch.tensor([5]))
    learner = head("random_forest", target)
    assert not learner.traits.trainable
    found = learner.adapt(given, target)(queries)
    images, asked = standardised(given, queries)
    for v in range(2):
        values = given.labels[0, :, v].double().numpy()
        mean, spread = values.mean(), values.std()
        other = RandomForestRegressor(
            5, max_features="sqrt", random_state=task_seed(torch.tensor(5))
        )
        other.fit(images, ((values - mean) / spread))
        expected = other.predict(asked) * spread + mean
        np.testing.assert_allclose(found[0, :, v], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_way", [2, 3])
def test_kernel_machine_gives_decision_values(n_way: int) -> None:
    labels = [label % n_way for label in LABELS]
    given, queries, target = (
        support(labels, 1),
        normal(1, 4, SIZE, seed=1),
        Target("classes", n_way),
    )
    found = head("kernel_svm", target).adapt(given, target)(queries)
    images, asked = standardised(given, queries)
    expected = SVC(tol=1e-9).fit(images, labels).decision_function(asked)
    ours = found[0, :, 1] - found[0, :, 0] if n_way == 2 else found[0]
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_nearest_centroid_predicts_as_scikit_learn() -> None:
    given, queries, target = (
        support(LABELS, 1),
        3 * normal(1, 40, SIZE, seed=1),
        Target("classes", 3),
    )
    found = head("nearest_centroid", target).adapt(given, target)(queries)
    images, asked = standardised(given, queries)
    expected = NearestCentroid().fit(images, LABELS).predict(asked)
    np.testing.assert_array_equal(found[0].argmax(-1), expected)


def test_one_image_of_each_class_is_its_centre_however_much_others_are_shrunken() -> None:
    target, queries = Target("classes", 3), normal(1, 5, SIZE, seed=1)
    given = support([0, 1, 2], 1)
    plain, shrunken = (
        build_head("nearest_centroid", options, InputSpec(SIZE, ()), target)
        for options in (None, {"shrink": 0.5})
    )
    wanted = plain.adapt(given, target)(queries)
    torch.testing.assert_close(shrunken.adapt(given, target)(queries), wanted)
    still = support(LABELS, 1)
    assert isinstance(still.inputs, torch.Tensor)
    still.inputs[..., :4] = torch.tensor(LABELS)[None, :, None].float()  # no spread within classes
    assert torch.isfinite(shrunken.adapt(still, target)(queries)).all()


def test_features_constant_in_each_class_keep_their_centres() -> None:
    """Three such features and one that varies: centres are the means, as with hardly a spread."""
    target = Target("classes", 2)
    images = torch.zeros(1, 6, 4)
    images[0, 3:, :3] = 1
    images[0, :, 3] = torch.tensor([0.1, 0.3, 0.2, 0.15, 0.25, 0.2])
    given = LabelledSet(images, torch.tensor([[0, 0, 0, 1, 1, 1]]), torch.zeros(1))
    options = {"shrink": 0.5}
    head = build_head("nearest_centroid", options, InputSpec(4, ()), target)
    found = head.adapt(given, target)(images)
    # Values ±1/2 about their mean have variance 1/4, the fourth 1/240; shrunken with 100 images'.
    own = np.array([0.25, 0.25, 0.25, np.var([0.1, 0.3, 0.2, 0.15, 0.25, 0.2])])
    spread = np.sqrt((6 * own + 100 * own.mean()) / 106)
    # The fourth's class means are both 0.2, and so is what they are drawn to. Half the difference
    # of squared distances, over the root of 4 features.
    apart = 0.5 * 3 / spread[0] ** 2 / 2
    wanted = np.where(np.arange(6) < 3, apart, -apart)
    np.testing.assert_allclose(found[0, :, 0] - found[0, :, 1], wanted, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_chance_comes_from_the_task_alone(name: str) -> None:
    target, queries = Target("classes", 3), normal(3, 4, SIZE, seed=1)
    given = support(LABELS, 7, 2**62, -1)
    learner = head(name, target)
    np.random.seed(0)
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    together = learner.adapt(given, target)(queries)
    for t in range(3):
        alone = learner.adapt(given.tasks(t, t + 1), target)(queries[t : t + 1])
        torch.testing.assert_close(alone[0], together[t])
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [[0, 2, 0, 2, 2], [1, 1], [1], [0, 1, 2, 3]])
def test_classes_without_images_are_never_likeliest(name: str, labels: list[int]) -> None:
    target = Target("classes", 4)
    found = head(name, target).adapt(support(labels, 3), target)(normal(1, 5, SIZE, seed=1))
    assert torch.isfinite(found).all()
    missing = sorted(set(range(4)) - set(labels))
    present = found[..., sorted(set(labels))].amin(-1, keepdim=True)
    assert (found[..., missing] <= present).all()
    assert len(missing) == 0 or set(found.argmax(-1).flatten().tolist()) <= set(labels)


@pytest.mark.parametrize("name", NAMES)
def test_one_image_repeated_is_fitted_all_the_same(name: str) -> None:
    target, images = Target("classes", 2), torch.ones(1, 4, SIZE)
    given = LabelledSet(images, torch.tensor([[0, 1, 0, 1]]), torch.tensor([0]))
    assert torch.isfinite(head(name, target).adapt(given, target)(images)).all()


@pytest.mark.parametrize("name", NAMES)
def test_training_is_refused_though_the_encoder_could_learn(name: str, tmp_path: Path) -> None:
    learner = build_learner(name, None, InputSpec(3, (16, 16)), Target("classes", 3))
    assert any(p.requires_grad for p in learner.parameters())
    assert not learner.traits.trainable
    never: Any = None  # refused before an episode is drawn
    with pytest.raises(UnsupportedTaskError, match="nothing to train across tasks"):
        Trainer(learner, never, TrainingSettings(), tmp_path, {}).fit()


def test_a_head_of_classes_refuses_values() -> None:
    with pytest.raises(UnsupportedTaskError, match="takes classes, not values"):
        head("nearest_centroid", Target("values", 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_target_of_one_class_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedTaskError, match="at least two classes"):
        head(name, Target("classes", 1))


def test_numpy_keeps_to_one_thread_while_fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fit = SVC.fit

    def spy(self: SVC, *given: Any) -> Any:
        seen.extend(x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas")
        return fit(self, *given)

    monkeypatch.setattr(SVC, "fit", spy)
    target, before = Target("classes", 3), threadpool_info()
    head("kernel_svm", target).adapt(support(LABELS, 1), target)
    assert set(seen) == {1}
    assert threadpool_info() == before
