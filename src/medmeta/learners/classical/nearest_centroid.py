"""Nearest shrunken centroid of standardised embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner
from medmeta.learners._class_sums import class_means
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._estimators import EstimatorHead
from medmeta.learners.classical._support_scale import SupportScale
from medmeta.learners.metric.prototypical import squared_distances


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
        self.traits = replace(self.traits, one_graph=config.shrink is None)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Fit the estimators; as one graph of torch's operators where that is asked for."""
        if torch.compiler.is_exporting() and self.traits.one_graph:
            return _in_one_graph(support, target)
        return super().adapt(support, target)

    def classifier(self, seed: int) -> Any:
        """Scikit-learn's, with the Euclidean distance."""
        return Centroids(self.config.shrink)

    def class_scores(self, fitted: Any, embeddings: np.ndarray) -> np.ndarray:
        """Minus half the squared distances ``(Q, N)``, over the root of D."""
        gaps = embeddings[:, None] - fitted.centroids_
        return np.asarray(-0.5 * np.square(gaps).sum(-1) / embeddings.shape[1] ** 0.5)


def _in_one_graph(support: LabelledSet, target: Target) -> Predictor:
    """The same without shrinking, for centroids are then means."""
    embeddings = any_tensor(support.inputs).double()
    scale = SupportScale.of(embeddings)
    centroids = class_means(scale.apply(embeddings), support.labels, target.size)

    def predict(inputs: Inputs) -> Tensor:
        queries = at_least_single(any_tensor(inputs))
        squares = squared_distances(scale.apply(queries.double()), centroids)
        logits: Tensor = -0.5 * squares / queries.shape[-1] ** 0.5
        return logits.to(queries.dtype)

    return predict


class Centroids:
    """Scikit-learn's, unshrunken where there is no spread within classes to shrink by.

    That is so where each class has one image, and of features that are constant in each class
    where most others are too (a feature's spread is taken with the features' median added).
    """

    def __init__(self, shrink: float | None) -> None:
        self.shrink = shrink

    def fit(self, images: np.ndarray, labels: np.ndarray) -> Any:
        """``images`` ``(S, D)``, ``labels`` ``(S,)``; the fitted classifier."""
        from sklearn.neighbors import NearestCentroid

        plain = NearestCentroid().fit(images, labels)
        if self.shrink is None or len(plain.classes_) == len(labels):
            return plain
        fitted = NearestCentroid(shrink_threshold=self.shrink).fit(images, labels)
        # No spread is 0 / 0 there; the less the spread, the nearer its centres are to the means.
        fitted.centroids_ = np.where(
            np.isfinite(fitted.centroids_), fitted.centroids_, plain.centroids_
        )
        return fitted


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
