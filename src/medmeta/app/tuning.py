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
from medmeta.learners.auto.longer import LEAST_SECONDS
from medmeta.trust.folds import cannot_fold, draw_folds, number_of_folds
from medmeta.trust.held_out import held_out_outputs

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
    """How much of a budget goes to the choice on embeddings: half of a long one.

    But not so little that its own longer search would be left out.

    >>> seconds_to_search(10.0), seconds_to_search(90.0), seconds_to_search(600.0)
    (10.0, 61.0, 300.0)
    """
    return max(seconds / 2, min(seconds, LEAST_SECONDS + 1))


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
    folds = _folds(predictor, task, seed)
    if folds is None or not any(p.requires_grad for p in task.learner.parameters()):
        return predictor
    before = _answers(task, folds)
    asked = rivals()
    tried = _tried(asked, before, adapt, folds, until)
    if not tried:
        return _recorded(predictor, {}, " There was no time to tune the whole network.")
    rows = [row for _, row in tried]
    tuned, best = min(tried, key=lambda pair: pair[1]["by_chance"])
    late = f" (of {len(asked)}; time was up)" if len(rows) < len(asked) else ""
    ways = "one way" if len(rows) == 1 else f"{len(rows)} ways"
    held = f" Held against {ways} to tune the whole network{late}: "
    told = {"tuned": {"on_embeddings": before.figures(), "networks": rows}}
    if best["by_chance"] * len(rows) > CHANCE:
        kept = "none did so much better that it would not be chance."
        return _recorded(predictor, told, held + kept)
    name, choice = best["name"], predictor.card["choice"]
    chosen = {
        "chosen": name,
        "in_words": f"the whole network, tuned on the support ({name})",
        "why": f"{name} is right on more of the images held out, by more than chance would give.",
    }
    taken = replace(tuned, card={**tuned.card, "choice": {**choice, **chosen}})
    better = (
        f"{name} did better than {choice['in_words']}, so what is said of how good it is, by the "
        "same images, is a little too high."
    )
    return _recorded(taken, told, held + better)


def _folds(predictor: SavedPredictor, task: AdaptedTask, seed: int) -> NDArray[np.int64] | None:
    """One repeat of folds of the support; None where it cannot be divided, or has no classes."""
    labels = task.support.labels[0].cpu().numpy()
    groups = task.support.groups
    own = np.arange(len(labels)) if groups is None else groups[0].cpu().numpy()
    if not predictor.class_names or cannot_fold(labels, own, predictor.class_names):
        return None
    n_folds = min(number_of_folds(labels, own), MOST_FOLDS)
    folds = draw_folds(labels, own, n_folds=n_folds, repeats=1, seed=seed % 2**31)
    return folds if len(folds) else None


def _tried(
    asked: list[Rival], before: _Answers, adapt: Adapt, folds: NDArray[np.int64], until: float
) -> list[tuple[SavedPredictor, dict[str, Any]]]:
    """The tuned networks there was time for, each with how well it did."""
    found = []
    for rival in asked:
        started = time.perf_counter()
        if started > until:
            break
        tuned = adapt(head=rival.learner, head_options=rival.options)
        each = time.perf_counter() - started
        if started + (1 + len(np.unique(folds))) * each > until:
            break
        after = _answers(tuned.task, folds)
        chance = round(by_chance(before.right, after.right), 6)
        found.append((tuned, {"name": rival.name, **after.figures(), "by_chance": chance}))
    return found


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


def _recorded(predictor: SavedPredictor, more: dict[str, Any], told: str) -> SavedPredictor:
    choice = predictor.card["choice"]
    choice = {**choice, **more, "how": choice["how"] + told}
    return replace(predictor, card={**predictor.card, "choice": choice})
