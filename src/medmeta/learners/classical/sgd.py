"""A linear model by stochastic gradient descent, one per task."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._estimators import CLASSES_AND_VALUES, EstimatorHead


class SGDConfig(HeadConfig):
    """Options of the linear model.

    ``penalty``: weight of the squared weights; ``passes`` over the support at most.
    """

    penalty: float = Field(1e-2, gt=0)
    passes: int = Field(200, ge=1, le=100_000)


class SGDHead(EstimatorHead):
    """One logistic regression per class against the rest; least squares for values.

    Logits are logarithms of the probabilities, scaled to add to 1. Bottou 2010.
    """

    def __init__(self, config: SGDConfig) -> None:
        super().__init__(targets=CLASSES_AND_VALUES)
        self.config = config

    def classifier(self, seed: int) -> Any:
        """Scikit-learn's, with the logistic loss and averaged weights."""
        from sklearn.linear_model import SGDClassifier

        return SGDClassifier(
            loss="log_loss",
            alpha=self.config.penalty,
            max_iter=self.config.passes,
            average=True,
            n_jobs=1,
            random_state=seed,
        )

    def regressor(self, seed: int) -> Any:
        """Scikit-learn's, with squared error and weights averaged over the second half."""
        return LeastSquaresByDescent(self.config, seed)


class LeastSquaresByDescent:
    """Scikit-learn's regressor at the rate that suits the embeddings' length.

    At one over the largest squared length no step overshoots, whatever the size D.
    """

    def __init__(self, config: SGDConfig, seed: int) -> None:
        self.config, self.seed = config, seed

    def fit(self, images: np.ndarray, values: np.ndarray) -> Any:
        """``images`` ``(S, D)``, ``values`` ``(S,)``; the fitted regressor."""
        from sklearn.linear_model import SGDRegressor

        regressor = SGDRegressor(
            alpha=self.config.penalty,
            max_iter=self.config.passes,
            tol=None,
            learning_rate="constant",
            eta0=1 / (1 + np.square(images).sum(1).max()),
            average=max(1, len(images) * self.config.passes // 2),
            random_state=self.seed,
        )
        return regressor.fit(images, values)


def _build_head(config: SGDConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return SGDHead(config)


SPEC = LearnerSpec.of_head(
    name="sgd",
    family="classical",
    summary="a linear model by stochastic gradient descent, fitted to each task",
    paper="Bottou 2010, Large-scale machine learning with stochastic gradient descent",
    config=SGDConfig,
    build_head=_build_head,
)
