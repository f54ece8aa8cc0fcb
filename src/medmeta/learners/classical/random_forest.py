"""A random forest, one per task."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._estimators import CLASSES_AND_VALUES, EstimatorHead


class RandomForestConfig(HeadConfig):
    """Options of the random forest.

    ``trees``: how many; ``depth``: of each at most (None: until its leaves are pure); ``leaf``:
    least number of images in one; ``share`` of the features that a split is chosen among (None:
    the root of their number).
    """

    trees: int = Field(50, ge=1, le=10_000)
    depth: int | None = Field(None, ge=1, le=100)
    leaf: int = Field(1, ge=1, le=1000)
    share: float | None = Field(None, gt=0, le=1)


class RandomForestHead(EstimatorHead):
    """Logits are logarithms of the trees' mean probabilities. Breiman 2001."""

    def __init__(self, config: RandomForestConfig) -> None:
        super().__init__(targets=CLASSES_AND_VALUES)
        self.config = config

    def classifier(self, seed: int) -> Any:
        """Scikit-learn's, on one thread."""
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**self._options(seed))

    def regressor(self, seed: int) -> Any:
        """Scikit-learn's, on one thread."""
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor(**self._options(seed))

    def _options(self, seed: int) -> dict[str, Any]:
        return {
            "n_estimators": self.config.trees,
            "max_depth": self.config.depth,
            "min_samples_leaf": self.config.leaf,
            "max_features": self.config.share or "sqrt",
            "n_jobs": 1,
            "random_state": seed,
        }


def _build_head(
    config: RandomForestConfig, embedding: InputSpec, target: Target
) -> AbstractLearner:
    return RandomForestHead(config)


SPEC = LearnerSpec.of_head(
    name="random_forest",
    family="classical",
    summary="a random forest, fitted to each task",
    paper="Breiman 2001, Random Forests",
    config=RandomForestConfig,
    build_head=_build_head,
)
