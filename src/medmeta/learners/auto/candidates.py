"""What there is to choose from: which parts, how they are prepared, which head on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medmeta.episode import TargetKind
from medmeta.errors import SettingsError

Preparation = Literal["plain", "standardised", "leading"]
PREPARATIONS: tuple[Preparation, ...] = ("plain", "standardised")
LEADING: Preparation = "leading"
"""Standardised, and what was learned counts twice: of committees alone."""
KNOWN = (*PREPARATIONS, LEADING)
HEADS: dict[TargetKind, dict[str, tuple[float, ...]]] = {
    "classes": {
        "centroid": (0.0,),
        "lda": (0.1, 0.01),
        "ridge": (1.0, 0.1, 0.01),
        "logistic": (0.1, 0.01),
        "kernel": (0.3, 0.03),
        "committee": (0.0,),
    },
    "values": {"ridge": (10.0, 1.0, 0.1, 0.01), "kernel": (1.0, 0.1)},
}
"""Heads by kind of target, the simplest first, each with its penalties, the strongest first."""
COMMITTEE = "committee"
HEAD_NAMES = ("centroid", "lda", "ridge", "logistic", "kernel", COMMITTEE)
CALLED = {
    "centroid": "the nearest centroid",
    "lda": "a linear discriminant",
    "ridge": "ridge regression",
    "logistic": "logistic regression",
    "kernel": "a Gaussian kernel",
    COMMITTEE: "a committee of ridge regression, a linear discriminant and a Gaussian kernel",
}
WITHOUT_PENALTY = ("centroid", COMMITTEE)
IN_COMMITTEE = (("ridge", 0.1), ("lda", 0.1), ("kernel", 0.3))
"""Heads whose probabilities a committee averages, each on all its parts and without the learned."""
TOGETHER = "+"
LEARNED = "learned"
AVERAGE = "average"
AVERAGED = 5


@dataclass(frozen=True)
class Candidate:
    """One way to learn a task: a head with its penalty on parts that are prepared.

    >>> Candidate.read("learned+shape/standardised/ridge/1").parts
    ('learned', 'shape')
    """

    parts: tuple[str, ...]
    preparation: Preparation
    head: str
    penalty: float

    @property
    def name(self) -> str:
        """By which it stands in tables and cards."""
        parts = TOGETHER.join(self.parts)
        return f"{parts}/{self.preparation}/{self.head}/{self.penalty:.6g}"

    @property
    def words(self) -> str:
        """For people who do not read tables of candidates.

        >>> Candidate.read("learned+shape/plain/ridge/0.1").words
        'ridge regression (penalty 0.1) on learned and shape'
        """
        *first, last = self.parts
        parts = f"{', '.join(first)} and {last}" if first else last
        penalty = f" (penalty {self.penalty:g})" if self.penalty else ""
        leads = ", what was learned counting twice" if self.preparation == LEADING else ""
        return f"{CALLED[self.head]}{penalty} on {parts}{leads}"

    @property
    def simplicity(self) -> tuple[float, ...]:
        """Less is simpler: fewer parts, a head with less to fit, a stronger penalty."""
        prepared = KNOWN.index(self.preparation)
        return (len(self.parts), HEAD_NAMES.index(self.head), prepared, -self.penalty)

    @classmethod
    def read(cls, name: str) -> Candidate:
        """The candidate of a name; raises ``SettingsError``."""
        pieces = name.split("/")
        try:
            parts, preparation, head, penalty = pieces
            found = float(penalty)
        except ValueError:
            raise _unreadable(name) from None
        known = preparation in KNOWN and head in HEAD_NAMES and all(parts.split(TOGETHER))
        if (
            not known
            or not math.isfinite(found)
            or found < 0
            or (found == 0) != (head in WITHOUT_PENALTY)
        ):
            raise _unreadable(name)
        prepared = next(one for one in KNOWN if one == preparation)
        return cls(tuple(parts.split(TOGETHER)), prepared, head, found)


def _unreadable(name: str) -> SettingsError:
    return SettingsError(
        f"{name!r} is no candidate; write parts/preparation/head/penalty, such as "
        "learned+shape/standardised/ridge/1."
    )


def candidates_of(parts: Sequence[str], kind: TargetKind) -> tuple[Candidate, ...]:
    """All candidates, in the order in which they are tried.

    The default first; then all parts together, what was learned, all else, and each part of that
    alone, the last with a few heads only. Of each, standardised parts first.
    """
    whole, learned = tuple(parts), tuple(part for part in parts if part == LEARNED)
    others = tuple(part for part in parts if part != LEARNED)
    subsets = dict.fromkeys(subset for subset in (whole, learned, others) if subset)
    singles = [(part,) for part in others if len(others) > 1]
    every = [candidate for subset in subsets for candidate in _on(subset, kind)]
    every += [
        candidate
        for single in singles
        for candidate in _on(single, kind)
        if candidate.preparation == "standardised" and candidate.head in ("lda", "ridge")
    ]
    first = default_of(parts, kind)
    return (first, *(candidate for candidate in every if candidate != first))


def _on(subset: tuple[str, ...], kind: TargetKind) -> list[Candidate]:
    """Candidates on some parts."""
    return [
        Candidate(subset, preparation, head, penalty)
        for preparation in reversed(PREPARATIONS)
        for head, penalties in HEADS[kind].items()
        for penalty in (penalties if preparation == "standardised" else penalties[:1])
        if preparation == "standardised" or head not in ("lda", "kernel", COMMITTEE)
    ]


def members_of(candidate: Candidate) -> tuple[Candidate, ...]:
    """What a committee is made of; any other candidate is made of itself.

    >>> one = Candidate.read("learned+shape/standardised/committee/0")
    >>> [member.name for member in members_of(one)][2:4]
    ['learned+shape/standardised/kernel/0.3', 'shape/standardised/ridge/0.1']
    """
    if candidate.head != COMMITTEE:
        return (candidate,)
    without = tuple(part for part in candidate.parts if part != LEARNED)
    subsets = dict.fromkeys(parts for parts in (candidate.parts, without) if parts)
    return tuple(
        Candidate(parts, candidate.preparation, head, penalty)
        for parts in subsets
        for head, penalty in IN_COMMITTEE
    )


def part_weights(parts: Sequence[str], preparation: Preparation) -> tuple[float, ...]:
    """How much each part counts: its squared length is so much of the sum of all.

    >>> part_weights(("learned", "shape"), "standardised")
    (1.0, 1.0)
    >>> part_weights(("learned", "shape", "grain"), "leading")
    (2.0, 1.0, 1.0)
    """
    return tuple(2.0 if preparation == LEADING and part == LEARNED else 1.0 for part in parts)


def default_of(parts: Sequence[str], kind: TargetKind) -> Candidate:
    """What is taken where nothing is searched: a committee on all parts, of values ridge.

    What was learned counts twice in it where there is anything else.
    """
    if kind == "values":
        return Candidate(tuple(parts), "standardised", "ridge", 0.1)
    leads = LEARNED in parts and len(parts) > 1
    return Candidate(tuple(parts), LEADING if leads else "standardised", COMMITTEE, 0.0)
