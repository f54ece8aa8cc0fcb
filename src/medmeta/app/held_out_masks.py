"""How well marked images are marked by what was learned from the others: the Dice to expect.

Answers of one learner agree with each other far more than with the truth, so that agreement alone
is no estimate. Where two patients or more are marked, each is left out in turn: their Dice is what
to expect of images alike, and its share of their agreement brings another image's agreement down
to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.app.mask_predictor import SavedMaskPredictor
from medmeta.data.mask_shape import UNLABELLED
from medmeta.evaluation.intervals import summarise
from medmeta.evaluation.mask_metrics import overlap

FOLDS = 5
FEWEST_FOR_INTERVAL = 3
HELD_OUT = "held_out"  # the card's entry
Array = NDArray[np.float64]


def with_held_out(predictor: SavedMaskPredictor, groups: NDArray[np.int64]) -> SavedMaskPredictor:
    """The predictor with what its own images say of it in its card; as it is for one patient.

    ``groups`` ``(S,)`` tells what must not be parted: the images of a patient or of a volume.
    """
    dice, agreement = _left_out(predictor, groups)
    rows = [
        _structure(name, dice[:, k], agreement[:, k], groups)
        for k, name in enumerate(predictor.structures)
    ]
    found = [row for row in rows if row is not None]
    if not found:
        return predictor
    return replace(predictor, card={**predictor.card, HELD_OUT: found})


def dice_left_out(predictor: SavedMaskPredictor, groups: NDArray[np.int64]) -> float | None:
    """The Dice on images left out in turn, a mean over structures; None where none could be.

    Of plain answers, so several times sooner than ``with_held_out``: to choose by.
    """
    dice, _ = _left_out(predictor, groups, agrees=False)
    found = [_structure("", one, one, groups) for one in dice.T]
    known = [row["dice"] for row in found if row is not None]
    return float(np.mean(known)) if known else None


def sentences(card: Mapping[str, Any]) -> list[str]:
    """What was found, in words, of each structure."""
    found = {row["structure"]: row for row in card.get(HELD_OUT) or ()}
    told = []
    parted = "patients" if card["support"]["patients_known"] else "taken apart"
    for name in card["structures"]:
        row = found.get(name)
        if row is None:
            told.append(
                f"{name}: how well it is found cannot be said; mark it in two patients or more."
            )
            continue
        between = "" if row["low"] is None else f", {row['low']:.2f} to {row['high']:.2f}"
        told.append(
            f"{name}: Dice {row['dice']:.2f} on marked images left out in turn ({row['images']} "
            f"images, {row['groups']} {parted}{between})."
        )
    return told


def _left_out(
    predictor: SavedMaskPredictor, groups: NDArray[np.int64], *, agrees: bool = True
) -> tuple[Array, Array]:
    """Dice and agreement ``(S, K)`` of each image, marked without its group; NaN where not.

    Without ``agrees`` one answer is given to each, and the agreement is not known.
    """
    masks = np.where(predictor.masks == UNLABELLED, -1, predictor.masks.astype(np.int64))
    size = len(predictor.structures)
    dice, agreement = np.full((len(masks), size), np.nan), np.full((len(masks), size), np.nan)
    for fold in _folds(groups, int(predictor.card["seed"])):
        kept, left = np.flatnonzero(~fold), np.flatnonzero(fold)
        marked = [(masks[kept] == k).any() for k in range(1, size + 1)]
        if not any(marked):
            continue
        answer = predictor.of_rows(kept).answer(predictor.pixels[left], uncertainty=agrees)
        given = answer.probabilities.argmax(1)
        here = np.ix_(left, np.flatnonzero(marked))
        dice[here] = overlap(given, masks[left], size + 1, axes=masks.ndim - 1)["dice"][:, marked]
        if answer.agreement is not None:
            agreement[here] = answer.agreement[:, marked]
    if predictor.preprocessing.patches:  # a block beside everything is no image: none there is easy
        empty = np.stack([~_shows(masks, k) for k in range(1, size + 1)], axis=1)
        dice[empty], agreement[empty] = np.nan, np.nan
    return dice, agreement


def _shows(masks: NDArray[np.int64], structure: int) -> NDArray[np.bool_]:
    """``(S,)``: which masks mark a structure."""
    return np.asarray((masks == structure).reshape(len(masks), -1).any(1))


def _folds(groups: NDArray[np.int64], seed: int) -> list[NDArray[np.bool_]]:
    """Masks over images, each of whole groups; none where there is one group only."""
    different = np.unique(groups)
    if len(different) < 2:
        return []
    random = np.random.Generator(np.random.Philox(key=[seed, 12]))
    dealt: Sequence[NDArray[np.int64]] = np.array_split(
        random.permutation(different), min(FOLDS, len(different))
    )
    return [np.isin(groups, part) for part in dealt]


def _structure(
    name: str, dice: Array, agreement: Array, groups: NDArray[np.int64]
) -> dict[str, Any] | None:
    """One structure's entry of the card: means over groups of the means within each."""
    known = ~np.isnan(dice)
    means = [dice[known & (groups == group)] for group in np.unique(groups[known])]
    if not means:
        return None
    summary = summarise(np.array([part.mean() for part in means])).within(0, 1)
    several = len(means) >= FEWEST_FOR_INTERVAL
    return {
        "structure": name,
        "dice": summary.mean,
        "low": summary.low if several else None,
        "high": summary.high if several else None,
        "agreement": float(agreement[known].mean()),
        "images": int(known.sum()),
        "groups": len(means),
    }
