"""The linear probe against scikit-learn, at any number of shots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from medmeta.episode import LabelledSet, Target
from medmeta.learners.baselines.linear_probe import LinearProbeConfig, LinearProbeHead
from medmeta.learners.heads.ridge import with_constant

TARGET = Target("classes", 3)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head(**options: object) -> LinearProbeHead:
    return LinearProbeHead(LinearProbeConfig.model_validate(options), 6)


@pytest.mark.parametrize("shots", [1, 4, 20])
def test_probabilities_are_those_of_scikit_learn(shots: int) -> None:
    labels = torch.arange(3).repeat(shots)
    images, queries = normal(1, 3 * shots, 6), normal(1, 5, 6, seed=1)
    images = images + 2 * torch.eye(6)[labels]
    support = LabelledSet(images, labels[None], torch.zeros(1))
    found = head(centre="none").adapt(support, TARGET)(queries).softmax(-1)[0]
    other = LogisticRegression(C=shots / 0.1, fit_intercept=False, tol=1e-9, max_iter=5000)
    design, asked = (
        with_constant(torch.nn.functional.normalize(x.double(), dim=2))[0].numpy()
        for x in (images, queries)
    )
    other.fit(design, labels.numpy())
    np.testing.assert_allclose(found.numpy(), other.predict_proba(asked), atol=1e-4)


def test_uneven_shots_count_by_their_mean() -> None:
    labels = torch.tensor([[0, 0, 0, 0, 1, 2]])
    images, queries = normal(1, 6, 6), normal(1, 5, 6, seed=1)
    support = LabelledSet(images, labels, torch.zeros(1))
    two_shots = head(regularisation=0.2).adapt(support, TARGET)(queries)
    doubled = LabelledSet(images.repeat(1, 2, 1), labels.repeat(1, 2), torch.zeros(1))
    # All images twice double the loss: the same optimum has twice the penalty at four shots.
    four_shots = head(regularisation=0.8).adapt(doubled, TARGET)(queries)
    torch.testing.assert_close(two_shots, four_shots, rtol=1e-4, atol=1e-4)
