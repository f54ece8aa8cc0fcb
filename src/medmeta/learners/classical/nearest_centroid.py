"""Nearest shrunken centroid of standardised embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._estimators import EstimatorHead


class NearestCentroidConfig(HeadConfig):
    """Options of the nearest centroid.

    ``shrink``: how far centroids are drawn to the overall mean, feature by feature, in units of
    the spread within classes (None: not).
    """

    shrink: float | None = Field(None, gt=0)


class NearestCentroidHead(EstimatorHead):
    """Logits are minus half the squared distance to each centroid, over the root of D.

    (Distances of many features would else say every class with certainty.) Tibshirani et al. 2002.
    """

    def __init__(self, config: NearestCentroidConfig) -> None:
        super().__init__(steady=True)
        self.config = config

    def classifier(self, seed: int) -> Any:
        """Scikit-learn's, with the Euclidean distance."""
        return Centroids(self.config.shrink)

    def class_scores(self, fitted: Any, embeddings: np.ndarray) -> np.ndarray:
        """Minus half the squared distances ``(Q, N)``, over the root of D."""
        # A feature without spread within classes has no shrunken centre: it counts nothing.
        gaps = embeddings[:, None] - np.nan_to_num(fitted.centroids_, nan=0.0)
        return np.asarray(-0.5 * np.square(gaps).sum(-1) / embeddings.shape[1] ** 0.5)


class Centroids:
    """Scikit-learn's, unshrunken where each class has one image and so no spread to shrink by."""

    def __init__(self, shrink: float | None) -> None:
        self.shrink = shrink

    def fit(self, images: np.ndarray, labels: np.ndarray) -> Any:
        """``images`` ``(S, D)``, ``labels`` ``(S,)``; the fitted classifier."""
        from sklearn.neighbors import NearestCentroid

        one_each = len(np.unique(labels)) == len(labels)
        return NearestCentroid(shrink_threshold=None if one_each else self.shrink).fit(
            images, labels
        )


def _build_head(
    config: NearestCentroidConfig, embedding: InputSpec, target: Target
) -> AbstractLearner:
    return NearestCentroidHead(config)


SPEC = LearnerSpec.of_head(
    name="nearest_centroid",
    family="classical",
    summary="the nearest class centre of standardised embeddings, shrunken if wanted",
    paper="Tibshirani et al. 2002, Diagnosis of multiple cancer types by shrunken centroids of "
    "gene expression",
    config=NearestCentroidConfig,
    build_head=_build_head,
)
