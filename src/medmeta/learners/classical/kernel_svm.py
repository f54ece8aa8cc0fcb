"""A support vector machine with a kernel, one per task."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._estimators import CLASSES_AND_VALUES, EstimatorHead, two_columns


class KernelSVMConfig(HeadConfig):
    """Options of the kernel machine.

    ``kernel``; ``slack``: the weight C of violated margins.
    """

    kernel: Literal["rbf", "linear", "poly", "sigmoid"] = "rbf"
    slack: float = Field(1.0, gt=0)


class KernelSVMHead(EstimatorHead):
    """Logits are the decision values: Platt's probabilities need more images than a task has.

    Cortes and Vapnik 1995; values by ε-insensitive regression.
    """

    def __init__(self, config: KernelSVMConfig) -> None:
        # The sigmoid is no kernel proper: which solution is found depends on the classes' names.
        super().__init__(targets=CLASSES_AND_VALUES, steady=config.kernel != "sigmoid")
        self.config = config

    def classifier(self, seed: int) -> Any:
        """Scikit-learn's, all pairs of classes summed up."""
        from sklearn.svm import SVC

        return SVC(kernel=self.config.kernel, C=self.config.slack, tol=1e-7, random_state=seed)

    def regressor(self, seed: int) -> Any:
        """Scikit-learn's, with its ε of 0.1 of the standardised values' spread."""
        from sklearn.svm import SVR

        machine = SVR(kernel=self.config.kernel, C=self.config.slack, tol=1e-7)
        machine.random_state = seed  # no option, but without it NumPy's own chance is drawn
        return machine

    def class_scores(self, fitted: Any, embeddings: np.ndarray) -> np.ndarray:
        """Decision values ``(Q, N)``."""
        return two_columns(fitted.decision_function(embeddings))


def _build_head(config: KernelSVMConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return KernelSVMHead(config)


SPEC = LearnerSpec.of_head(
    name="kernel_svm",
    family="classical",
    summary="a support vector machine with a kernel, fitted to each task",
    paper="Cortes and Vapnik 1995, Support-vector networks",
    config=KernelSVMConfig,
    build_head=_build_head,
)
