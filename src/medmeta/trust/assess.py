"""All that can be said of one learned task from its support set, in one pass."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from medmeta.episode import any_tensor
from medmeta.errors import UnsupportedTaskError
from medmeta.evaluation.metrics import softmax
from medmeta.learner import AdaptedTask
from medmeta.trust.agreement import agreement, codes_of, vote_shares
from medmeta.trust.calibration import calibrate, crossed
from medmeta.trust.decisions import decision_curve, more_labels, operating_point, subgroups
from medmeta.trust.estimate import estimate, no_estimate
from medmeta.trust.fewer_labels import measured_labels, support_exponent
from medmeta.trust.folds import cannot_fold
from medmeta.trust.held_out import affordable_folds, held_out_outputs
from medmeta.trust.looks import grey_levels
from medmeta.trust.novelty import Seen, held_out_scores, novelty_rule
from medmeta.trust.prior import TrustPrior
from medmeta.trust.results import (
    Agreement,
    Calibration,
    Decisions,
    Estimate,
    LabelPoint,
    NoveltyRule,
    Trust,
)
from medmeta.trust.set_rules import set_rule
from medmeta.trust.shortcuts import shortcuts
from medmeta.trust.suspects import suspects

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
TARGET_SENSITIVITY = 0.9
MORE_LABELS = (10, 20, 40)


@dataclass(frozen=True)
class About:
    """What is known of a task's support images, beside what the learner is given.

    ``groups`` ``(n,)``: images of one patient, or of one picture, share a number. ``files``
    ``(n, p)`` are properties of the files; ``columns`` what subgroups are made by; ``readings``
    each reader's labels.
    """

    names: tuple[str, ...]
    groups: Numbers
    patients_known: bool = False
    files: Array | None = None
    columns: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    readings: Mapping[str, Sequence[str | None]] = field(default_factory=dict)


def assess(
    task: AdaptedTask,
    about: About,
    *,
    prior: TrustPrior | None = None,
    repeats: int | None = None,
    seed: int = 0,
) -> Trust:
    """How far a learned task can be trusted; knows no algorithm and sees no query.

    Where images cannot be held out, or answers are no numbers, the estimate says why and all that
    needs it is left out. Raises ``UnsupportedTaskError`` for a task that is not of classes.
    """
    if task.target.kind != "classes":
        raise UnsupportedTaskError(
            f"trust is worked out for classes, and this is a task of {task.target.kind}; "
            "say --no-estimate."
        )
    with threadpool_limits(1):  # matrices are small: threads would wait for each other
        return _assessed(task, about, prior or TrustPrior(), repeats, seed)


def _assessed(
    task: AdaptedTask, about: About, prior: TrustPrior, repeats: int | None, seed: int
) -> Trust:
    started = time.perf_counter()
    labels = task.support.labels[0].cpu().numpy()
    read = _agreement(about, labels)
    found = _held_out(task, about, labels, repeats, seed)
    if isinstance(found, str):
        none = no_estimate(
            labels, about.groups, about.names, found, patients_known=about.patients_known
        )
        return Trust(none, agreement=read, seconds=round(time.perf_counter() - started, 3))
    folds, logits = found
    answers = crossed(logits, labels, folds, prior)  # as ``predict`` gives them
    measured = measured_labels(task, labels, about.groups, precision=prior.precision, seed=seed)
    exponent = _exponent(measured, logits, labels, folds, prior)
    figure = estimate(
        answers, labels, about.groups, folds, names=about.names, prior=prior, exponent=exponent,
        patients_known=about.patients_known, shares=_shares(about),
    )  # fmt: skip
    calibration = calibrate(logits, labels, answers, prior)
    probabilities = softmax(answers)
    pixels = support_pixels(task)
    accuracy = figure.figures["accuracy"]
    labelled = more_labels(
        accuracy, len(labels) / len(about.names), exponent=exponent,
        spread=prior.exponent_spread, added=MORE_LABELS,
    )  # fmt: skip
    short = None if pixels is None else shortcuts(
        pixels, labels, about.groups, folds, accuracy=figure.cross_validated, chance=figure.chance,
        files=about.files,
    )  # fmt: skip
    return Trust(
        estimate=figure,
        calibration=calibration,
        sets=set_rule(logits[0], labels, folds[0], groups=about.groups),
        novelty=_novelty(task, labels, folds, logits, pixels, calibration),
        suspects=suspects(probabilities, labels),
        shortcuts=short,
        decisions=_decisions(
            about, labels, folds, probabilities, (*measured, *labelled), prior.precision
        ),
        agreement=read,
        notes=_notes(figure, prior),
        seconds=round(time.perf_counter() - started, 3),
    )


def _held_out(
    task: AdaptedTask, about: About, labels: Numbers, repeats: int | None, seed: int
) -> tuple[Numbers, Array] | str:
    """Folds ``(R, n)`` and held-out logits ``(R, n, K)``, or why there are none."""
    if reason := cannot_fold(labels, about.groups, about.names):
        return reason
    folds = affordable_folds(task, about.groups, repeats=repeats, seed=seed)
    if not len(folds):
        return (
            "no way was found to hold out patients and leave images of every class to learn from; "
            "add images of patients who have one class only"
        )
    logits = held_out_outputs(task, folds).astype(np.float64)
    if not np.isfinite(logits).all():
        n = int((~np.isfinite(logits)).any((0, 2)).sum())
        return f"the learner's answers to {n} held-out images are no numbers; train it again"
    return folds, logits


def support_pixels(task: AdaptedTask) -> NDArray[np.float32] | None:
    """The support images as grey levels 0 to 255, ``(n, C, H, W)``; None where there are none."""
    images = any_tensor(task.support.inputs)
    return grey_levels(images[0].cpu().numpy()) if images.ndim == 5 else None


def support_likeness(task: AdaptedTask) -> Array:
    """What images are compared by ``(n, D)``: embeddings, or centred logits without a head."""
    if task.support_embeddings is not None:
        return task.support_embeddings[0].cpu().numpy().astype(np.float64)
    with torch.no_grad():
        logits = task.predictor(task.support.inputs)[0].cpu().numpy().astype(np.float64)
    return np.asarray(logits - logits.mean(1, keepdims=True))


def _exponent(
    measured: list[LabelPoint], logits: Array, labels: Numbers, folds: Numbers, prior: TrustPrior
) -> float:
    """How fast this task's errors fall with its images, by itself and the prior."""
    wrong = float((logits.argmax(-1) != labels).mean())
    learned_from = 1 - 1 / float(np.mean([len(np.unique(f)) for f in folds]))
    per_class = learned_from * len(labels) / logits.shape[-1]
    return support_exponent(measured, wrong, per_class, prior)


def _novelty(
    task: AdaptedTask,
    labels: Numbers,
    folds: Numbers,
    logits: Array,
    pixels: NDArray[np.float32] | None,
    calibration: Calibration,
) -> NoveltyRule | None:
    if pixels is None:
        return None
    seen = Seen(support_likeness(task), logits[0], pixels)
    scores = held_out_scores(seen, labels, folds[0], temperature=calibration.temperature)
    return novelty_rule(scores)


def _agreement(about: About, labels: Numbers) -> Agreement | None:
    return agreement(about.readings, labels, about.names) if len(about.readings) > 1 else None


def _shares(about: About) -> Array | None:
    if not about.readings:
        return None
    return vote_shares(codes_of(about.readings, about.names), len(about.names))


def _decisions(
    about: About,
    labels: Numbers,
    folds: Numbers,
    probabilities: Array,
    curve: tuple[LabelPoint, ...],
    precision: float,
) -> Decisions:
    names, first = about.names, probabilities[0]
    asked = [1] if len(names) == 2 else list(range(len(names)))
    points = [
        operating_point(
            first,
            labels,
            about.groups,
            folds[0],
            positive=k,
            name=names[k],
            sensitivity=TARGET_SENSITIVITY,
            precision=precision,
        )
        for k in asked
    ]
    right = (probabilities.argmax(-1) == labels).mean(0)
    return Decisions(
        tuple(points),
        tuple(decision_curve(first, labels, names)),
        curve,
        tuple(subgroups(right, about.groups, about.columns, precision=precision)),
    )


def _notes(figure: Estimate, prior: TrustPrior) -> tuple[str, ...]:
    notes = []
    if not figure.patients_known:
        notes.append(
            "Patients are not known: if several images are of one patient, these figures are too "
            "good. Give a manifest with a column 'patient'."
        )
    if not prior.learned:
        notes.append(
            "Nothing was learned about trust from source tasks answered this way: intervals are by "
            "theory alone."
        )
    return tuple(notes)
