"""Marking without a run: by the model in the box, or by what needs no training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from medmeta.app.baselines import untrained_model
from medmeta.app.cards import spec_in_card
from medmeta.app.held_out_masks import dice_left_out, with_held_out
from medmeta.app.mask_predictor import SavedMaskPredictor
from medmeta.app.mask_workbench import adapt_masks
from medmeta.app.models import LoadedModel, load_boxed, with_reading
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learners import LEARNERS

FAMILY = "segmentation"
SIZE, BLOCK = 128, 32
BOXED = "medmeta-masks"  # in the box: it has learned to mark
TRIED = "tried_without_a_run"  # the card's entry: the Dice of each by images left out


def without_a_run(reading: Mapping[str, Any]) -> Preprocessing:
    """How images are prepared: at 128×128, or blocks of 32×32×32 where patches are asked for.

    ``reading`` are the flags that say how files are read, those not given None.
    """
    blocks = {"size": BLOCK, "depth": BLOCK, "channels": 1} if reading.get("patches") else {}
    return with_reading({"size": SIZE, **blocks}, reading)


def adapt_without_a_run(
    support: Source,
    preprocessing: Preprocessing,
    *,
    learner: str | None = None,
    options: Mapping[str, Any] | None = None,
    seconds: float,
    seed: int = 0,
    estimate: bool = True,
    allow_external: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> SavedMaskPredictor:
    """Learn one task of masks by the model in the box, or a learner that needs no training.

    Without a ``learner`` it is the one of them that finds marked images best when these are left
    out, patients apart, as many as can be tried within ``seconds``; where nobody can be left out,
    the first: of pictures and slices the model in the box. What each reached is in the card. Raises
    what ``adapt_masks`` does, and ``UnsupportedTaskError`` for a learner that takes no masks.
    ``progress(done, total, name)`` hears of each that is tried.
    """
    target = Target("masks", len(support.index.structures) + 1)
    started, highest = time.perf_counter(), 0.0
    best: SavedMaskPredictor | None = None
    tried: dict[str, float | None] = {}
    if learner is None:
        models = [*_of_the_box(preprocessing), *_as_they_are(preprocessing, target)]
    else:
        named = _named(learner, options or {}, preprocessing, target, allow_external=allow_external)
        models = [(learner, named)]
    for number, (name, model) in enumerate(models):
        if best is not None and time.perf_counter() - started > seconds:
            break
        if progress is not None:
            progress(number, len(models) + 1, name)
        found = adapt_masks(model, support, seed=seed)
        dice = dice_left_out(found, support.groups) if len(models) > 1 else None
        tried[name] = dice
        if best is None or (dice or 0.0) > highest:
            best, highest = found, dice or 0.0
        if dice is None:
            break  # nobody can be left out: there is nothing to compare by
    assert best is not None
    best = replace(best, card={**best.card, TRIED: tried})
    if progress is not None:
        progress(len(models), len(models) + 1, "how well it marks")
    return with_held_out(best, support.groups) if estimate else best


def taken(tried: Mapping[str, float | None]) -> str:
    """Which of those tried marks: the best on images left out, the first where none could be.

    >>> taken({"a": 0.2, "b": 0.5, "c": 0.5}), taken({"a": None})
    ('b', 'a')
    """
    return max(tried, key=lambda name: tried[name] or 0.0)


def figures(tried: Mapping[str, float | None]) -> str:
    """What each reached on images left out; empty where there was nothing to compare.

    >>> figures({"a": 0.2, "b": 0.5}), figures({"a": None})
    ('a 0.20, b 0.50', '')
    """
    known = {name: dice for name, dice in tried.items() if dice is not None}
    return ", ".join(f"{k} {dice:.2f}" for k, dice in known.items()) if len(known) > 1 else ""


def told(predictor: SavedMaskPredictor) -> str:
    """What was used, and what it was chosen by, in words."""
    tried = predictor.card[TRIED]
    used = taken(tried)
    how = (
        "the model in the box, which has learned on other structures how to mark"
        if used == BOXED
        else "which learns from the marked images alone"
    )
    sentence = f"No run was named: {used} is used, {how}"
    if found := figures(tried):
        sentence += (
            f". It was chosen by the Dice on marked images left out in turn ({found}), so its "
            "own figure is a little too high"
        )
    return f"{sentence}. A run trained on structures like yours (--model) may need fewer images."


def _named(
    learner: str,
    options: Mapping[str, Any],
    preprocessing: Preprocessing,
    target: Target,
    *,
    allow_external: bool,
) -> LoadedModel:
    named = untrained_model(learner, options, preprocessing, target, allow_external=allow_external)
    if named.learner.traits.trainable:
        able = ", ".join(name for name, _ in _as_they_are(preprocessing, target))
        raise UnsupportedTaskError(
            f"{learner} learns across tasks, and no run was named. Train one ('medmeta train "
            f"--target masks --learner {learner}') and name it by --model, or take what needs no "
            f"training: {able}."
        )
    return named


def _of_the_box(preprocessing: Preprocessing) -> list[tuple[str, LoadedModel]]:
    """The model that comes with the package, to read images so; none where it takes others."""
    model, asked = load_boxed(BOXED), preprocessing.input_spec
    own = model.preprocessing.input_spec
    if (own.kind, own.channels, len(own.size)) != (asked.kind, asked.channels, len(asked.size)):
        return []
    card = {
        **model.card,
        "preprocessing": preprocessing.model_dump(mode="json"),
        "input_spec": spec_in_card(asked),
    }
    return [(BOXED, replace(model, card=card))]


def _as_they_are(preprocessing: Preprocessing, target: Target) -> list[tuple[str, LoadedModel]]:
    """The learners of masks that have nothing to train across tasks, the quickest first."""
    own = [name for name, spec in LEARNERS.items() if spec.family == FAMILY]
    built = [(name, untrained_model(name, {}, preprocessing, target)) for name in own]
    able = [(name, model) for name, model in built if not model.learner.traits.trainable]
    return sorted(able, key=lambda one: not one[1].learner.traits.differentiable)
