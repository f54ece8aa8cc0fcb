"""A longer search, where there is time: penalties between those of the table, by Optuna."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medmeta.episode import LabelledSet, any_tensor
from medmeta.errors import MissingExtraError
from medmeta.learners.auto.candidates import COMMITTEE, HEADS, PREPARATIONS, TOGETHER, Candidate
from medmeta.learners.auto.comparing import compare, draw_rounds
from medmeta.learners.auto.searching import Search, parts_of, pieces
from medmeta.learners.classical._estimators import task_seed

LEAST_SECONDS = 60.0
"""Searches that have more time than this go on after the fixed candidates."""
MOST_TRIALS = 300
KEPT = 8
PENALTIES = (1e-4, 1e2)


def further_candidates(
    search: Search, support: LabelledSet, *, until: float, most: int = MOST_TRIALS
) -> tuple[tuple[Candidate, ...], int]:
    """The best of other candidates by images held out, and how many were tried.

    Trials are drawn by a tree-structured estimator (Bergstra et al. 2011) seeded by the task, from
    the same parts, preparations and heads with any penalty, ``most`` of them at most. None where no
    image can be held out. Raises ``MissingExtraError``.
    """
    optuna = _optuna()
    part = next(pieces(support, search))
    rounds = draw_rounds(part, search.target)
    if rounds is None:
        return (), 0
    embeddings = parts_of(any_tensor(part.inputs), search.sizes)
    subsets = list(dict.fromkeys(TOGETHER.join(c.parts) for c in search.candidates))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=_seed(support)))
    losses: dict[Candidate, float] = {}
    while time.perf_counter() < until and len(losses) < most:
        trial = study.ask()
        candidate = _drawn(trial, subsets, search)
        if candidate not in losses:
            found = compare(embeddings, part, search.target, rounds, [candidate], search.variances)
            losses[candidate] = float(found.loss[0, 0])
        study.tell(trial, losses[candidate])
    return _best(losses, search.candidates), len(losses)


def _best(losses: dict[Candidate, float], known: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The best few that are not known, one penalty of each kind."""
    new = sorted((c for c in losses if c not in set(known)), key=lambda c: losses[c])
    kinds = {replace(c, penalty=0.0): c for c in reversed(new)}
    return tuple(c for c in new if kinds[replace(c, penalty=0.0)] is c)[:KEPT]


def _drawn(trial: Any, subsets: Sequence[str], search: Search) -> Candidate:
    solved = {candidate.head for candidate in search.candidates}  # of many images ridge alone
    heads = [h for h in HEADS[search.target.kind] if h != COMMITTEE and h in solved]
    head = trial.suggest_categorical("head", heads)
    parts = trial.suggest_categorical("parts", list(subsets))
    preparation = trial.suggest_categorical("preparation", list(PREPARATIONS))
    penalty = 0.0 if head == "centroid" else trial.suggest_float("penalty", *PENALTIES, log=True)
    return Candidate.read(f"{parts}/{preparation}/{head}/{penalty:.3g}")


def _seed(support: LabelledSet) -> int:
    return task_seed(support.task_ids[0])


def _optuna() -> Any:
    """Optuna, silent; it comes with an extra, and is imported here alone."""
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("optuna", "search", "a --budget of more than a minute") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
