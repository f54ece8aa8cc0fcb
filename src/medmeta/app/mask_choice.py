"""Marking without a run: by the model in the box, or by what needs no training."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
TRIED = "tried_without_a_run"  # the card's entry


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
) -> SavedMaskPredictor:
    """Learn one task of masks by the model in the box, or a learner that needs no training.

    Without a ``learner`` it is the one of them that finds marked images best when these are left
    out, patients apart, as many as can be tried within ``seconds``; where nobody can be left out,
    the first: of pictures and slices the model in the box. What each reached is in the card. Raises
    what ``adapt_masks`` does, and ``UnsupportedTaskError`` for a learner that takes no masks.
    """
    target = Target("masks", len(support.index.structures) + 1)
    started, highest = time.perf_counter(), 0.0
    best: SavedMaskPredictor | None = None
    tried: list[dict[str, Any]] = []
    if learner is None:
        models = [*_of_the_box(preprocessing), *_as_they_are(preprocessing, target)]
    else:
        named = _named(learner, options or {}, preprocessing, target, allow_external=allow_external)
        models = [(learner, named)]
    for name, model in models:
        if best is not None and time.perf_counter() - started > seconds:
            break
        found = adapt_masks(model, support, seed=seed)
        dice = dice_left_out(found, support.groups) if len(models) > 1 else None
        tried.append({"learner": name, "dice": dice})
        if best is None or (dice or 0.0) > highest:
            best, highest = found, dice or 0.0
        if dice is None:
            break  # nobody can be left out: there is nothing to compare by
    assert best is not None
    best = replace(best, card={**best.card, TRIED: tried})
    return with_held_out(best, support.groups) if estimate else best


def told(predictor: SavedMaskPredictor) -> str:
    """What was used, and what it was chosen by, in words."""
    tried = predictor.card[TRIED]
    used = max(tried, key=lambda one: one["dice"] or 0.0)["learner"]
    how = (
        "the model in the box, which has learned on other structures how to mark"
        if used == BOXED
        else "which learns from the marked images alone"
    )
    sentence = f"No run was named: {used} is used, {how}"
    if len(tried) > 1:
        figures = ", ".join(f"{one['learner']} {one['dice']:.2f}" for one in tried)
        sentence += (
            f". It was chosen by the Dice on marked images left out in turn ({figures}), so its "
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
