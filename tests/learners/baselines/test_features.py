"""Centring and unit length, and where the base mean comes from."""

from __future__ import annotations

import pytest
import torch

from medmeta.episode import Episode, LabelledSet, Target
from medmeta.errors import SettingsError
from medmeta.learners.baselines._features import FeatureConfig, FeatureScaling

SUPPORT = torch.tensor([[[1.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]])
QUERY = torch.tensor([[[2.0, 6.0]], [[3.0, 5.0]]])


def scaling(**options: object) -> FeatureScaling:
    return FeatureScaling(FeatureConfig.model_validate(options), 2)


def episode(value: float) -> Episode:
    labels, ids = torch.tensor([[0, 1]]), torch.zeros(1)
    images = torch.full((1, 2, 2), value)
    return Episode(
        LabelledSet(images, labels, ids), LabelledSet(images, labels, ids), Target("classes", 2)
    )


def test_untouched() -> None:
    prepared = scaling(centre="none", normalise=False).fitted(SUPPORT)
    assert torch.equal(prepared(QUERY), QUERY)


def test_unit_length() -> None:
    prepared = scaling(centre="none").fitted(SUPPORT)
    torch.testing.assert_close(prepared(SUPPORT)[0], torch.tensor([[1.0, 0.0], [0.6, 0.8]]))


@pytest.mark.parametrize("centre", ["support", "base"])
def test_centred_on_each_task_s_support_while_no_base_is_known(centre: str) -> None:
    prepared = scaling(centre=centre, normalise=False).fitted(SUPPORT)
    torch.testing.assert_close(prepared(QUERY), torch.tensor([[[0.0, 4.0]], [[3.0, 4.0]]]))


def test_centred_on_the_base_mean_once_it_is_set() -> None:
    features = scaling(normalise=False)
    features.set_base_mean(torch.tensor([[1.0, 1.0], [3.0, 1.0]]))
    torch.testing.assert_close(features.fitted(SUPPORT)(QUERY)[0], torch.tensor([[0.0, 5.0]]))
    copied = scaling(normalise=False)
    copied.load_state_dict(features.state_dict())
    torch.testing.assert_close(copied.fitted(SUPPORT)(QUERY)[0], torch.tensor([[0.0, 5.0]]))


def test_the_first_hundred_batches_weigh_the_same() -> None:
    features = scaling()
    for value in (1.0, 2.0, 6.0):
        features.observe(episode(value))
    torch.testing.assert_close(features.base_mean, torch.tensor([3.0, 3.0]))
    assert features.n_seen == 3


def test_later_the_newest_weighs_a_hundredth() -> None:
    features = scaling()
    features.n_seen.fill_(1000)
    features.observe(episode(5.0))
    torch.testing.assert_close(features.base_mean, torch.tensor([0.05, 0.05]))


def test_an_embedding_at_the_centre_stays_finite() -> None:
    prepared = scaling(centre="support").fitted(SUPPORT)
    middle = SUPPORT.mean(1, keepdim=True)
    assert prepared(middle).abs().max() == 0


def test_half_precision_is_prepared_in_single() -> None:
    prepared = scaling().fitted(SUPPORT.bfloat16())
    assert prepared(QUERY.bfloat16()).dtype == torch.float32


def test_a_base_mean_that_would_not_be_used_is_refused() -> None:
    features = scaling(centre="support")
    features.observe(episode(1.0))
    assert features.state_dict() == {}
    with pytest.raises(SettingsError, match="centre=support"):
        features.set_base_mean(torch.zeros(1, 2))
