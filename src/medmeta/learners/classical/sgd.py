"""A linear classifier by stochastic gradient descent, one per task."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sklearn.linear_model import SGDClassifier

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._estimators import EstimatorHead


class SGDConfig(HeadConfig):
    """Options of the linear classifier.

    ``penalty``: weight of the squared weights; ``passes`` over the support at most.
    """

    penalty: float = Field(1e-2, gt=0)
    passes: int = Field(200, ge=1, le=100_000)


class SGDHead(EstimatorHead):
    """One logistic regression per class against the rest.

    Logits are logarithms of their probabilities, scaled to add to 1. Bottou 2010.
    """

    def __init__(self, config: SGDConfig) -> None:
        super().__init__()
        self.config = config

    def classifier(self, seed: int) -> Any:
        """Scikit-learn's, with the logistic loss and averaged weights."""
        return SGDClassifier(
            loss="log_loss",
            alpha=self.config.penalty,
            max_iter=self.config.passes,
            average=True,
            n_jobs=1,
            random_state=seed,
        )


def _build_head(config: SGDConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return SGDHead(config)


SPEC = LearnerSpec.of_head(
    name="sgd",
    family="classical",
    summary="a linear classifier by stochastic gradient descent, fitted to each task",
    paper="Bottou 2010, Large-scale machine learning with stochastic gradient descent",
    config=SGDConfig,
    build_head=_build_head,
)
