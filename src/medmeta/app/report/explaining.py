"""Which answers of a report are explained, by maps that are checked as they are made."""

from __future__ import annotations

from functools import partial
from itertools import chain, zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medmeta.app.predictor import SavedPredictor
from medmeta.app.report.content import ExplanationContent
from medmeta.data.preprocess import as_float
from medmeta.encoders import AbstractEncoder
from medmeta.trust.explanation import occlusion_maps
from medmeta.trust.explanation_curves import deletion_and_insertion, random_maps
from medmeta.trust.explanation_sanity import check_weights_matter

EXPLAINED = 6  # each takes 44 answers of the predictor
SANITY = 3  # images: each needs a map by other weights
STEPS = 5


def explain_answers(
    predictor: SavedPredictor,
    pixels: NDArray[np.uint8],
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    count: int = EXPLAINED,
) -> ExplanationContent | None:
    """Maps of some of the images ``(Q, C, H, W)`` that were asked about; None where none can be.

    The most confident wrong answers make up half at most, the rest run from the least certain to
    the most. Raises ``UnsupportedTaskError``.
    """
    return _explain(predictor, pixels, probabilities, _chosen(probabilities, labels, count))


def explain_support(
    predictor: SavedPredictor, probabilities: NDArray[np.float64], *, count: int = EXPLAINED
) -> ExplanationContent | None:
    """The same for labelled images, of each class in turn."""
    labels = predictor.support_labels
    by_class = [np.flatnonzero(labels == k).tolist() for k in np.unique(labels)]
    rows = [row for row in chain.from_iterable(zip_longest(*by_class)) if row is not None]
    valid = [row for row in rows if np.isfinite(probabilities[row]).all()]
    return _explain(predictor, predictor.pixels, probabilities, valid[:count], of_support=True)


def _chosen(probabilities: NDArray[np.float64], labels: NDArray[np.int64], count: int) -> list[int]:
    valid = np.asarray(np.isfinite(probabilities).all(1))
    confidence = np.where(valid, np.nan_to_num(probabilities).max(1), -1.0)
    answers = np.nan_to_num(probabilities).argmax(1)
    rising = [int(i) for i in np.argsort(confidence, kind="stable") if valid[i]]
    wrong = [i for i in rising[::-1] if labels[i] >= 0 and answers[i] != labels[i]]
    chosen = wrong[: count // 2]
    others = [i for i in rising if i not in chosen]
    places = np.linspace(0, len(others) - 1, min(count - len(chosen), len(others)))
    return chosen + [others[int(place)] for place in places]


def _explain(
    predictor: SavedPredictor,
    pixels: NDArray[np.uint8],
    probabilities: NDArray[np.float64],
    chosen: list[int],
    *,
    of_support: bool = False,
) -> ExplanationContent | None:
    if not chosen:
        return None
    task, rows = predictor.task, np.array(chosen)
    answers = probabilities[rows].argmax(1)
    images, classes = as_float(torch.from_numpy(pixels[rows])), torch.from_numpy(answers)
    maps = occlusion_maps(task, images, classes=classes)
    whole = np.isfinite(maps).all((1, 2))
    if not whole.any():
        return None
    kept = torch.from_numpy(np.flatnonzero(whole))
    images, classes, maps = images[kept], classes[kept], maps[whole]
    measured = partial(
        deletion_and_insertion,
        task,
        images,
        classes=classes,
        steps=STEPS,
        probabilities=predictor.probabilities,
    )
    told = measured(maps)
    other = measured(random_maps(len(maps), maps.shape[1:], seed=0))
    return ExplanationContent(
        rows=rows[whole],
        classes=answers[whole],
        maps=maps,
        of_support=of_support,
        deletion=float(told.deletion_area.mean()),
        insertion=float(told.insertion_area.mean()),
        random_deletion=float(other.deletion_area.mean()),
        random_insertion=float(other.insertion_area.mean()),
        correlation=_correlation(predictor, images[:SANITY], classes[:SANITY], maps[:SANITY]),
        hand_made=_has_hand_made(task.learner),
        alone=task.learner.traits.transductive,
    )


def _has_hand_made(learner: nn.Module) -> bool:
    """Whether some of its encoders have nothing that was learned."""
    encoders = [m for m in learner.modules() if isinstance(m, AbstractEncoder)]
    return not all(encoder.has_weights for encoder in encoders)


def _correlation(
    predictor: SavedPredictor,
    images: torch.Tensor,
    classes: torch.Tensor,
    maps: NDArray[np.float32],
) -> float:
    """Rank correlation with maps by shuffled weights; NaN for a learner without weights."""
    if not any(p.numel() > 1 for p in predictor.task.learner.parameters()):
        return float("nan")
    return check_weights_matter(predictor.task, images, seed=0, classes=classes, known=maps).mean
