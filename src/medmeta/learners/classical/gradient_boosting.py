"""Boosted trees, one ensemble per task."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._estimators import CLASSES_AND_VALUES, EstimatorHead


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
        return GradientBoostingClassifier(**self._options(seed))

    def regressor(self, seed: int) -> Any:
        """Scikit-learn's, with squared error."""
        return GradientBoostingRegressor(**self._options(seed))

    def _options(self, seed: int) -> dict[str, Any]:
        return {
            "n_estimators": self.config.rounds,
            "max_depth": self.config.depth,
            "learning_rate": self.config.rate,
            "max_features": "sqrt",
            "random_state": seed,
        }


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
