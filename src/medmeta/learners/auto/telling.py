"""The record of a choice, in what JSON can hold, and its reason in a sentence."""

from __future__ import annotations

import math
from typing import Any

from medmeta.learners.auto.candidates import AVERAGE
from medmeta.learners.auto.choosing import TIE, Choice
from medmeta.learners.auto.searching import Found, Search, names_of

NO_SEARCH = "the fixed default: no search was asked for."


def record_of(
    found: Found,
    search: Search,
    *,
    seconds: float,
    budget: float | None,
    n_examples: int,
    further: int = 0,
) -> dict[str, Any]:
    """What was tried with which figures, what was chosen and why, and in what time.

    ``candidates`` stand from the best to the worst as they are expected; accuracies and log losses
    are of images held out, None where none could be; ``expected`` is the accuracy (of values, the
    squared error, negated) above the mean of all.
    """
    scores, names = found.scores, names_of(found)
    order = sorted(range(len(names)), key=lambda i: -float(scores.expected[0, i]))
    rows = [
        {
            "name": names[i],
            "accuracy": _number(scores.accuracy[0, i]),
            "loss": _number(scores.loss[0, i]),
            "past": _number(scores.prior[0, i]),
            "expected": _number(scores.expected[0, i]),
        }
        for i in order
    ]
    tried = len(found.candidates) if found.rounds else 0
    return {
        "kind": search.target.kind,
        "chosen": found.choice.name,
        "in_words": found.choice.words,
        "why": _reason(found, search),
        "how": _how(found, search, tried, n_examples) + _longer(further),
        "further": further,
        "candidates": rows,
        "tried": tried,
        "of": len(search.candidates),
        "folds": found.rounds.folds if found.rounds else None,
        "repeats": found.rounds.repeats if found.rounds else None,
        "past_tasks": sum(cell.tasks for cell in search.table.cells),
        "seconds": round(seconds, 3),
        "budget": budget,
    }


def record_of_default(choice: Choice, search: Search) -> dict[str, Any]:
    """The record where nothing was searched."""
    return {
        "kind": search.target.kind,
        "chosen": choice.name,
        "in_words": choice.words,
        "why": f"{_begun(choice.words)} is {NO_SEARCH}",
        "how": "No candidates were compared.",
        "candidates": [],
        "tried": 0,
        "of": len(search.candidates),
        "folds": None,
        "repeats": None,
        "past_tasks": 0,
        "seconds": 0.0,
        "budget": 0.0,
    }


def _begun(words: str) -> str:
    return words[0].upper() + words[1:]


def _number(value: Any) -> float | None:
    number = float(value)
    return round(number, 6) if math.isfinite(number) else None


def _reason(found: Found, search: Search) -> str:
    name = AVERAGE if found.place == len(found.candidates) else found.choice.name
    what = "The average of the best few" if name == AVERAGE else _begun(found.choice.words)
    if found.rounds is None and search.target.kind == "values":
        return f"{what} is the default: with so few images nothing can be held out."
    if found.rounds is None:
        past = "did best on past tasks like this one" if search.table.cells else "is the default"
        return f"{what} {past}; no image can be held out here to see for itself."
    expected = found.scores.expected[0]
    best = int(expected.argmax())
    if found.place == 0 and found.place != best and search.table.margin:
        return (
            f"{what}: that is the default. No other is expected to be {_points(search)} better, "
            "and past tasks show that a smaller lead is mostly chance."
        )
    if found.place != best and float(expected[best]) > float(expected[found.place]):
        return f"{what} is the simplest of those that are as good as the best (within {TIE:g})."
    asked = bool(search.table.cells) and search.target.kind == "classes"
    told = " and past tasks like this one" if asked else ""
    return f"{what} is expected to do best by images held out{told}."


def _points(search: Search) -> str:
    return f"{100 * search.table.margin:g} points"


def _longer(further: int) -> str:
    if not further:
        return ""
    return f" Among them are the best of {further} others, with penalties that were searched for."


def _how(found: Found, search: Search, tried: int, n_examples: int) -> str:
    if found.rounds is None:
        few = "A class has images of one patient only, or just one"
        few = "There are fewer than four" if search.target.kind == "values" else few
        return f"{few}: cross-validation is impossible here, so nothing was compared."
    times = f", repeated {found.rounds.repeats} times" if found.rounds.repeats > 1 else ""
    fewer = f" of {found.images} of the {n_examples} images" if found.images < n_examples else ""
    late = f"; time was up after {tried} of {len(search.candidates)}"
    stopped = late if tried < len(search.candidates) else ""
    return (
        f"{tried} candidates and the average of the best were compared by "
        f"{found.rounds.folds}-fold cross-validation{times}{fewer}{stopped}."
    )
