"""What the same features give where all images are labelled: a bound for few of them."""

from __future__ import annotations

import numpy as np
import torch

from medmeta.data.source import Source
from medmeta.episode import LabelledSet, Target
from medmeta.learner import AbstractLearner

FOLDS = 5


def accuracy_from_all_images(
    head: AbstractLearner, embeddings: torch.Tensor, source: Source, classes: list[int]
) -> tuple[float, float]:
    """Balanced accuracy by five folds that part no patient, in per cent, with half its interval.

    ``embeddings`` ``(n, D)`` of all images; of ``classes`` only. The interval is that of the mean
    over folds, by Student's t.
    """
    assert source.index.labels is not None
    codes = source.index.labels.codes
    rows = np.flatnonzero(np.isin(codes, classes))
    labels = np.searchsorted(classes, codes[rows])
    folds = _folds(source.groups[rows])
    found = []
    for fold in range(FOLDS):
        known, asked = folds != fold, folds == fold
        support = LabelledSet(
            embeddings[rows[known]][None], torch.from_numpy(labels[known])[None], torch.zeros(1)
        )
        predictor = head.adapt(support, Target("classes", len(classes)))
        with torch.no_grad():
            answers = predictor(embeddings[rows[asked]][None])[0].argmax(-1).numpy()
        right = answers == labels[asked]
        found.append(np.mean([right[labels[asked] == c].mean() for c in np.unique(labels[asked])]))
    accuracy = 100 * np.array(found)
    return float(accuracy.mean()), float(2.776 * accuracy.std(ddof=1) / np.sqrt(FOLDS))


def _folds(groups: np.ndarray) -> np.ndarray:
    """Of each image ``(n,)``; a group is in one fold."""
    names, place = np.unique(groups, return_inverse=True)
    drawn = np.random.default_rng(0).permutation(len(names)) % FOLDS
    return np.asarray(drawn[place])
