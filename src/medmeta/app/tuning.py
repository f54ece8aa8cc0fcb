"""Whole networks tuned to a task, against what was chosen on embeddings: where there is time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.app.predictor import SavedPredictor
from medmeta.evaluation.metrics import softmax
from medmeta.learner import AdaptedTask
from medmeta.learners import LEARNERS, targets_of
from medmeta.trust.folds import cannot_fold, draw_folds, number_of_folds
from medmeta.trust.held_out import held_out_outputs

LEAST_SECONDS = 60.0
"""Networks are tuned where there is more time than this; what is chosen on embeddings has half."""
MOST_FOLDS = 5
CHANCE = 0.05
"""A tuned network is taken where its lead on images held out is as unlikely by chance as this."""
LEAST_LIKELY = 1e-12

Adapt = Callable[..., SavedPredictor]
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Rival:
    """A learner that trains the whole network within the task, with its options."""

    learner: str
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As in tables and cards.

        >>> Rival("fine_tuning", {"rate": 0.001}).name
        'fine_tuning(rate=0.001)'
        """
        return f"{self.learner}({', '.join(f'{k}={v}' for k, v in self.options.items())})"


def rivals() -> list[Rival]:
    """What the registry says a long search tries, of learners that tune a trained encoder."""
    able = [spec for spec in LEARNERS.values() if spec.tunes and spec.tried]
    return [
        Rival(spec.name, options)
        for spec in able
        if "classes" in targets_of(spec.name)
        for options in spec.tried
    ]


def seconds_to_search(seconds: float) -> float:
    """How much of a budget goes to the choice on embeddings.

    >>> seconds_to_search(10.0), seconds_to_search(600.0)
    (10.0, 300.0)
    """
    return seconds if seconds <= LEAST_SECONDS else seconds / 2


def tuned_if_better(
    predictor: SavedPredictor, adapt: Adapt, *, until: float, seed: int = 0
) -> SavedPredictor:
    """A tuned network instead of what was chosen, where images held out show that it is better.

    All answer the same held-out images of the support; the choice on embeddings stays as it was
    made, with the support's help, so that the doubt is to its advantage. ``adapt(head=...,
    head_options=...)`` learns the task anew. What the clock (``time.perf_counter``) leaves no time
    for is not tried. The card's ``choice`` says what was tried, and how well it did.
    """
    task = replace(predictor.task, procedure=None)
    labels = task.support.labels[0].cpu().numpy()
    groups = task.support.groups
    own = np.arange(len(labels)) if groups is None else groups[0].cpu().numpy()
    if not predictor.class_names or cannot_fold(labels, own, predictor.class_names):
        return predictor
    if not any(p.requires_grad for p in task.learner.parameters()):
        return predictor
    n_folds = min(number_of_folds(labels, own), MOST_FOLDS)
    folds = draw_folds(labels, own, n_folds=n_folds, repeats=1, seed=seed % 2**31)
    if not len(folds):
        return predictor
    before = _answers(task, folds)
    rows: list[dict[str, Any]] = []
    best, by, name = predictor, 1.0, ""
    asked = rivals()
    for rival in asked:
        started = time.perf_counter()
        if started > until:
            break
        tuned = adapt(head=rival.learner, head_options=rival.options)
        if started + (1 + n_folds) * (time.perf_counter() - started) > until:
            break
        after = _answers(tuned.task, folds)
        chance = by_chance(before.right, after.right)
        rows.append({"name": rival.name, **after.figures(), "by_chance": round(chance, 6)})
        if chance < by:
            best, by, name = tuned, chance, rival.name
    if not rows:
        return _recorded(predictor, _told(0, len(asked), ""))
    if by * len(rows) > CHANCE:
        kept = "none did so much better that it would not be chance"
        return _recorded(predictor, _told(len(rows), len(asked), kept), before, rows)
    chosen = {
        "chosen": name,
        "in_words": f"the whole network, tuned on the support ({name})",
        "why": f"{name} is right on more of the images held out, by more than chance would give.",
    }
    kept = f"{name} did better than {predictor.card['choice']['in_words']}"
    choice = {**predictor.card["choice"], **chosen}
    taken = replace(best, card={**best.card, "choice": choice})
    return _recorded(taken, _told(len(rows), len(asked), kept), before, rows)


@dataclass(frozen=True)
class _Answers:
    """Which images held out are answered rightly ``(n,)``, and how likely the truth was held."""

    right: Right
    likely: NDArray[np.float64]

    def figures(self) -> dict[str, float]:
        loss = -np.log(np.maximum(self.likely, LEAST_LIKELY)).mean()
        return {"accuracy": round(float(self.right.mean()), 6), "loss": round(float(loss), 6)}


def _answers(task: AdaptedTask, folds: NDArray[np.int64]) -> _Answers:
    labels = task.support.labels[0].cpu().numpy()
    with torch.no_grad():
        logits = held_out_outputs(task, folds)[0]
    probabilities = softmax(logits)
    return _Answers(logits.argmax(1) == labels, probabilities[np.arange(len(labels)), labels])


def by_chance(before: Right, after: Right) -> float:
    """How likely so many more right answers are where both are as good (McNemar 1947, exactly).

    Of the images that one of both answers rightly, ``after`` has so many or more.

    >>> by_chance(np.zeros(5, dtype=bool), np.ones(5, dtype=bool))
    0.03125
    """
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    n = gained + lost
    return float(sum(comb(n, k) for k in range(gained, n + 1)) / 2**n)


def _told(tried: int, of: int, kept: str) -> str:
    if not tried:
        return " There was no time to tune the whole network."
    late = f" (of {of}; time was up)" if tried < of else ""
    ways = "one way" if tried == 1 else f"{tried} ways"
    return f" Held against {ways} to tune the whole network{late}: {kept}."


def _recorded(
    predictor: SavedPredictor,
    told: str,
    before: _Answers | None = None,
    rows: list[dict[str, Any]] | None = None,
) -> SavedPredictor:
    choice = predictor.card["choice"]
    more: dict[str, Any] = {"how": choice["how"] + told}
    if rows and before is not None:
        more["tuned"] = {"on_embeddings": before.figures(), "networks": rows}
    return replace(predictor, card={**predictor.card, "choice": {**choice, **more}})
