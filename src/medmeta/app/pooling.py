"""One answer for each volume, from those of its slices."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.app.predictor import Answers, AnyAnswers

POOLED = "the mean of its slices' probabilities"


def pooled(answers: AnyAnswers, counts: NDArray[np.int64]) -> AnyAnswers:
    """Answers of pictures as answers of what they are slices of.

    ``counts`` ``(Q,)`` says how many pictures, one after the other, belong to each. Probabilities
    and values are averaged (and embeddings, in which volumes are drawn); the nearest support
    images are those that any slice is most alike; a volume was learned from if a slice was, is as
    novel as its most novel slice, and its set holds what any slice's does.
    """
    if (counts == 1).all():
        return answers
    starts = np.cumsum(counts) - counts
    columns: dict[str, NDArray[Any]] = {}
    for name in (field.name for field in fields(answers)):
        values = getattr(answers, name)
        if values is None:
            continue
        if name in ("learned_from", "sets"):
            columns[name] = np.logical_or.reduceat(values, starts, axis=0)
        elif name in ("novelty", "reason"):
            columns[name] = np.maximum.reduceat(values, starts)
        elif name not in ("nearest", "similarity"):
            summed = np.add.reduceat(values, starts, axis=0)
            columns[name] = (summed / counts[:, None]).astype(values.dtype)
    parts = [slice(first, first + n) for first, n in zip(starts, counts, strict=True)]
    near = [_nearest(answers, part) for part in parts]
    columns["nearest"] = np.array([pair[0] for pair in near], dtype=answers.nearest.dtype)
    columns["similarity"] = np.array([pair[1] for pair in near])
    return type(answers)(**columns)


def _nearest(answers: Answers, part: slice) -> tuple[list[int], list[float]]:
    """The support images nearest to any of some pictures, each once, the nearest first."""
    best: dict[int, float] = {}
    pairs = zip(answers.nearest[part].flat, answers.similarity[part].flat, strict=True)
    for image, similarity in pairs:
        best[int(image)] = max(float(similarity), best.get(int(image), -np.inf))
    ordered = sorted(best, key=lambda image: -best[image])[: answers.nearest.shape[1]]
    return ordered, [best[image] for image in ordered]
