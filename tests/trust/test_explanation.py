"""Maps of where an answer comes from: the planted marker, arithmetic, and what cannot be mapped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.errors import DataError, SettingsError, UnsupportedTaskError
from medmeta.evaluation.metrics import softmax
from medmeta.learner import AbstractLearner, AdaptedTask, adapt_task
from medmeta.learners import build_learner
from medmeta.trust.explanation import (
    Windows,
    answers_of,
    gradient_maps,
    log_odds,
    neutral_images,
    occlusion_maps,
    raw_answers,
)
from medmeta.trust.explanation_curves import (
    deletion_and_insertion,
    mass_within,
    random_maps,
)
from medmeta.trust.explanation_sanity import check_weights_matter, randomised, rank_correlation
from tests.trust.marked_images import TWO, marked_images, marked_task

pytest.importorskip("captum", reason="the extra explain")
FINE = Windows((4, 4), (2, 2))
LABELS = torch.arange(2).repeat(6)


def without_weights(space: tuple[int, ...]) -> AbstractLearner:
    options = {"encoder": {"name": "pixels"}}
    return build_learner("nearest_centroid", options, InputSpec(1, space), TWO)


def made_task(predictor: object, *, size: int = 2, space: tuple[int, ...] = (4, 4)) -> AdaptedTask:
    """A task whose answers are a function that the test wrote."""
    learner = without_weights(space)
    labels = torch.arange(size)[None]
    support = LabelledSet(torch.zeros(1, size, 1, *space), labels, torch.zeros(1))
    return AdaptedTask(learner, support, Target("classes", size), predictor)  # type: ignore[arg-type]


def weighted_sum(weights: Tensor) -> object:
    """Logits of +half and -half the weighted sum of an image: its log-odds are that sum."""

    def predictor(images: Tensor) -> Tensor:
        total = (images * weights).flatten(2).sum(2)
        return torch.stack([total / 2, -total / 2], dim=2)

    return predictor


def test_a_linear_answer_is_mapped_by_its_weights() -> None:
    weights = torch.arange(16.0).reshape(4, 4) - 5
    task = made_task(weighted_sum(weights))
    images = torch.full((1, 1, 4, 4), 2.0)
    single = Windows((1, 1), (1, 1))
    found = occlusion_maps(task, images, windows=single, classes=torch.tensor([0]))
    np.testing.assert_allclose(found[0], 2 * weights.numpy(), rtol=1e-5)
    against = occlusion_maps(task, images, windows=single, classes=torch.tensor([1]))
    np.testing.assert_allclose(against, -found, rtol=1e-5)
    gradients = gradient_maps(task, images, classes=torch.tensor([0]))
    np.testing.assert_allclose(gradients[0], 2 * weights.numpy(), rtol=1e-4)


@pytest.mark.parametrize("windows", [None, Windows((5, 3), (4, 2))])
def test_occlusion_is_that_of_captum(windows: Windows | None) -> None:
    from captum.attr import Occlusion

    task = marked_task()
    images, _ = marked_images(LABELS[:3], seed=76)
    known = answers_of(task, images)
    used = windows or Windows.of((32, 32))

    def odds(covered: Tensor, classes: Tensor) -> Tensor:
        return log_odds(raw_answers(task, covered), classes)

    with torch.no_grad():
        wanted = Occlusion(odds).attribute(
            images,
            sliding_window_shapes=(images.shape[1], *used.size),
            strides=(images.shape[1], *used.stride),
            baselines=neutral_images(task, images[:1]),
            additional_forward_args=(known,),
        )
    found = occlusion_maps(task, images, windows=windows, batch=7)
    np.testing.assert_allclose(found, wanted[:, 0].numpy(), rtol=1e-3, atol=1e-4)


def test_the_mass_of_a_map_lies_in_the_marker_that_decides() -> None:
    task = marked_task()
    images, where = marked_images(LABELS, seed=77)
    assert (answers_of(task, images) == LABELS).all()
    marked = where.numpy()
    share = marked.mean()
    assert share == 64 / 1024
    assert mass_within(occlusion_maps(task, images, windows=FINE), marked).mean() > 0.5
    assert mass_within(gradient_maps(task, images), marked).mean() > 0.7
    assert mass_within(random_maps(12, (32, 32), seed=0), marked).mean() < 1.5 * share


def test_gradients_add_up_to_the_difference_in_log_odds() -> None:
    task = marked_task()
    images, _ = marked_images(LABELS[:4], seed=78)
    maps = gradient_maps(task, images, classes=LABELS[:4], steps=128)
    with torch.no_grad():
        ends = [
            log_odds(raw_answers(task, x), LABELS[:4])
            for x in (images, neutral_images(task, images))
        ]
    np.testing.assert_allclose(maps.sum((1, 2)), (ends[0] - ends[1]).numpy(), rtol=0.05)


def test_what_a_map_names_matters_more_than_random_places() -> None:
    task = marked_task()
    images, _ = marked_images(LABELS, seed=79)
    told = deletion_and_insertion(task, images, occlusion_maps(task, images, windows=FINE))
    chance_maps = random_maps(12, (32, 32), seed=1, windows=FINE)
    chance = deletion_and_insertion(task, images, chance_maps)
    assert told.deletion_area.mean() < chance.deletion_area.mean()
    assert told.insertion_area.mean() > chance.insertion_area.mean()
    np.testing.assert_allclose(told.deletion[:, 0], told.insertion[:, -1])
    np.testing.assert_allclose(told.deletion[:, -1], told.insertion[:, 0])


def test_areas_by_hand() -> None:
    task = made_task(weighted_sum(torch.tensor([[1.0, 0.0], [0.0, 0.0]])), space=(2, 2))
    images = torch.full((1, 1, 2, 2), 1.0)
    maps = np.array([[[3.0, 2.0], [1.0, 0.0]]], dtype=np.float32)
    curves = deletion_and_insertion(task, images, maps, classes=torch.tensor([0]), steps=4)
    with_it, without = 1 / (1 + np.exp(-1)), 0.5
    np.testing.assert_allclose(curves.deletion[0], [with_it, *[without] * 4])
    assert curves.deletion_area[0] == pytest.approx(without + (with_it - without) / 8)
    assert curves.insertion_area[0] == pytest.approx(with_it - (with_it - without) / 8)
    cooler = deletion_and_insertion(
        task, images, maps, classes=torch.tensor([0]), steps=4,
        probabilities=lambda logits: softmax(logits / 2),
    )  # fmt: skip
    np.testing.assert_allclose(cooler.deletion[0], [1 / (1 + np.exp(-0.5)), *[without] * 4])


def test_maps_change_with_the_weights() -> None:
    task = marked_task()
    before = {k: v.clone() for k, v in task.learner.state_dict().items()}
    images, _ = marked_images(LABELS, seed=80)
    assert abs(check_weights_matter(task, images, seed=0, maps=gradient_maps).mean) < 0.3
    assert check_weights_matter(task, images, seed=0).mean < 0.6
    assert all(torch.equal(v, before[k]) for k, v in task.learner.state_dict().items())
    shuffled = dict(randomised(task, seed=0).learner.named_parameters())
    for name, weight in task.learner.named_parameters():
        assert torch.equal(weight.flatten().sort()[0], shuffled[name].flatten().sort()[0])


def test_rank_correlation_is_spearman_s() -> None:
    from scipy.stats import spearmanr

    first, second = np.random.default_rng(0).normal(size=(2, 3, 5, 5)).astype(np.float32)
    first[1] = first[1].round()
    found = rank_correlation(first, second)
    wanted = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, wanted)
    assert np.isnan(rank_correlation(np.zeros((1, 2, 2), np.float32), second[:1, :2, :2]))


@pytest.mark.parametrize("name", ["maml", "relation", "random_forest", "laplacian_shot"])
def test_any_predictor_has_a_map(name: str) -> None:
    space = (16, 16)
    torch.manual_seed(0)
    options = {"encoder": {"name": "conv4", "options": {"width": 8}}}
    learner = build_learner(name, options, InputSpec(1, space), TWO).eval()
    support = LabelledSet(torch.randn(1, 6, 1, *space), LABELS[None, :6], torch.zeros(1).long())
    with torch.no_grad():
        task = adapt_task(learner, support, TWO)
    images = torch.randn(3, 1, *space)
    wide = Windows((8, 8), (8, 8))
    maps = occlusion_maps(task, images, windows=wide)
    assert maps.shape == (3, *space)
    assert np.isfinite(maps).all()
    alone = occlusion_maps(task, images[1:2], windows=wide)
    np.testing.assert_allclose(maps[1:2], alone, rtol=1e-2, atol=1e-3)


def test_what_cannot_be_mapped() -> None:
    forest = build_learner(
        "random_forest",
        {"encoder": {"name": "conv4", "options": {"width": 8}}},
        InputSpec(1, (16, 16)),
        TWO,
    ).eval()
    support = LabelledSet(torch.randn(1, 4, 1, 16, 16), LABELS[None, :4], torch.zeros(1).long())
    with torch.no_grad():
        task = adapt_task(forest, support, TWO)
    images = torch.randn(2, 1, 16, 16)
    with pytest.raises(UnsupportedTaskError, match="no gradient"):
        gradient_maps(task, images)
    with pytest.raises(DataError, match="fits the support"):
        occlusion_maps(task, torch.randn(2, 3, 16, 16))
    two = replace(support, labels=LABELS[:4].expand(2, 4))
    with pytest.raises(UnsupportedTaskError, match="one at a time"):
        occlusion_maps(replace(task, support=two), images)
    with pytest.raises(SettingsError, match="or leave gaps"):
        occlusion_maps(task, images, windows=Windows((4, 4), (5, 4)))
    with pytest.raises(SettingsError, match="at least one"):
        deletion_and_insertion(task, images, random_maps(2, (16, 16), seed=0), steps=0)
    with pytest.raises(DataError, match="or have gaps"):
        deletion_and_insertion(task, images, np.full((2, 16, 16), np.nan, dtype=np.float32))


def test_no_answer_no_map() -> None:
    task = made_task(lambda images: images.flatten(2)[..., :2] * torch.nan)
    assert np.isnan(occlusion_maps(task, torch.zeros(2, 1, 4, 4))).all()
    assert occlusion_maps(task, torch.zeros(0, 1, 4, 4)).shape == (0, 4, 4)


def test_nothing_to_shuffle() -> None:
    with pytest.raises(UnsupportedTaskError, match="no weights"):
        randomised(made_task(weighted_sum(torch.ones(4, 4))), seed=0)


def test_threads_make_the_same_maps() -> None:
    options = {"encoder": {"name": "conv4", "options": {"width": 8}}}
    learner = build_learner("prototypical", options, InputSpec(1, (16, 16)), TWO).eval()
    support = LabelledSet(torch.randn(1, 4, 1, 16, 16), LABELS[None, :4], torch.zeros(1).long())
    with torch.no_grad():
        task = adapt_task(learner, support, TWO)
    images, held = torch.randn(6, 1, 16, 16), torch.get_num_threads()
    maps = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            maps.append(occlusion_maps(task, images, batch=8))
    finally:
        torch.set_num_threads(held)
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-3, atol=1e-5)
