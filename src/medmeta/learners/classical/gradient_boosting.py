"""Boosted trees, one ensemble per task."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._estimators import CLASSES_AND_VALUES, EstimatorHead, on_grid


class GradientBoostingConfig(HeadConfig):
    """Options of gradient boosting.

    ``rounds``: trees per class; ``depth`` of each; ``rate``: the weight of each. A tree chooses
    among a random √D of the features at each split.
    """

    rounds: int = Field(50, ge=1, le=10_000)
    depth: int = Field(2, ge=1, le=100)
    rate: float = Field(0.1, gt=0, le=1)


class GradientBoostingHead(EstimatorHead):
    """Logits are logarithms of the boosted probabilities. Friedman 2001."""

    def __init__(self, config: GradientBoostingConfig) -> None:
        super().__init__(targets=CLASSES_AND_VALUES)
        self.config = config

    def classifier(self, seed: int) -> Any:
        """Scikit-learn's: one tree per class and round."""
        from sklearn.ensemble import GradientBoostingClassifier

        return GradientBoostingClassifier(
            n_estimators=self.config.rounds,
            max_depth=self.config.depth,
            learning_rate=self.config.rate,
            max_features="sqrt",
            random_state=seed,
        )

    def regressor(self, seed: int) -> Any:
        """Boosting of scikit-learn's trees, with squared error."""
        return BoostedTrees(self.config, seed)


class BoostedTrees:
    """Least-squares boosting: each tree is fitted to what those before it left over.

    Friedman 2001, algorithm 2. Scikit-learn's own does the same, but among splits that are equally
    good it lets the rounding of the residuals choose, and so the unit of the values.
    """

    def __init__(self, config: GradientBoostingConfig, seed: int) -> None:
        self.config = config
        self.chance = np.random.RandomState(seed)
        self.trees: list[Any] = []
        self.mean = 0.0

    def fit(self, images: np.ndarray, values: np.ndarray) -> BoostedTrees:
        """``images`` ``(S, D)``, ``values`` ``(S,)``."""
        from sklearn.tree import DecisionTreeRegressor

        self.mean = float(values.mean())
        left = values - self.mean
        for _ in range(self.config.rounds):
            tree = DecisionTreeRegressor(
                max_depth=self.config.depth,
                max_features="sqrt",
                random_state=self.chance,
            )
            self.trees.append(tree.fit(images, on_grid(left)))
            left = left - self.config.rate * tree.predict(images)
        return self

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Images ``(Q, D)`` to values ``(Q,)``."""
        steps = sum(tree.predict(images) for tree in self.trees)
        return np.asarray(self.mean + self.config.rate * steps)


def _build_head(
    config: GradientBoostingConfig, embedding: InputSpec, target: Target
) -> AbstractLearner:
    return GradientBoostingHead(config)


SPEC = LearnerSpec.of_head(
    name="gradient_boosting",
    family="classical",
    summary="boosted trees, fitted to each task",
    paper="Friedman 2001, Greedy function approximation: a gradient boosting machine",
    config=GradientBoostingConfig,
    build_head=_build_head,
)
