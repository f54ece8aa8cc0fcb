"""A small neural network on embeddings, one per task."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._estimators import CLASSES_AND_VALUES, EstimatorHead


class MLPConfig(HeadConfig):
    """Options of the network.

    ``hidden``: units of the hidden layer; ``decay``: weight of the squared weights; ``steps`` of
    L-BFGS at most.
    """

    hidden: int = Field(64, ge=1, le=10_000)
    decay: float = Field(1.0, ge=0)
    steps: int = Field(200, ge=1, le=10_000)


class MLPHead(EstimatorHead):
    """One hidden layer of tanh units, from weights drawn for each task.

    (Not ReLU: a few images are fitted along its kinks, and rounding decides on which side.)

    Logits are logarithms of its probabilities. Rumelhart, Hinton and Williams 1986.
    """

    def __init__(self, config: MLPConfig) -> None:
        super().__init__(targets=CLASSES_AND_VALUES)
        self.config = config

    def classifier(self, seed: int) -> Any:
        """Scikit-learn's, fitted on all images at once by L-BFGS."""
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(**self._options(seed))

    def regressor(self, seed: int) -> Any:
        """Scikit-learn's, fitted on all images at once by L-BFGS."""
        from sklearn.neural_network import MLPRegressor

        return MLPRegressor(**self._options(seed))

    def _options(self, seed: int) -> dict[str, Any]:
        return {
            "hidden_layer_sizes": (self.config.hidden,),
            "alpha": self.config.decay,
            "activation": "tanh",
            "solver": "lbfgs",
            "tol": 1e-7,  # to the optimum: at a looser one steps end where rounding says
            "max_iter": self.config.steps,
            "random_state": seed,
        }


def _build_head(config: MLPConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return MLPHead(config)


SPEC = LearnerSpec.of_head(
    name="mlp",
    family="classical",
    summary="a small neural network on embeddings, fitted to each task",
    paper="Rumelhart, Hinton and Williams 1986, Learning representations by back-propagating "
    "errors",
    config=MLPConfig,
    build_head=_build_head,
)
