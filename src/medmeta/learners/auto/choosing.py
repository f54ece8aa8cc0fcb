"""Which candidate is taken: by past tasks, by images held out, and the simpler of two as good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor

from medmeta.episode import Target
from medmeta.learners.auto.candidates import AVERAGE, AVERAGED, Candidate
from medmeta.learners.auto.comparing import Compared, Rounds, average_of
from medmeta.learners.auto.past import PastTasks, Weights
from medmeta.settings import Settings

TIE = 0.001
"""Candidates whose expected accuracies differ by less are as good as each other."""
OF_VALUES = Weights(shot=1.0, prior=0.0, loss=1.0)


class Choice(Settings):
    """What was chosen: candidates whose answers are averaged, most often one.

    ``temperatures`` multiply their logits.
    """

    members: tuple[str, ...] = Field(min_length=1)
    temperatures: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> Choice:
        if len(self.members) != len(self.temperatures) or not min(self.temperatures) > 0:
            raise ValueError("each member has one temperature, above 0")
        for name in self.members:
            Candidate.read(name)
        return self

    @property
    def name(self) -> str:
        """As in tables and cards."""
        if len(self.members) == 1:
            return self.members[0]
        return f"{AVERAGE} of {', '.join(self.members)}"

    @property
    def words(self) -> str:
        """For people."""
        told = [Candidate.read(name).words for name in self.members]
        return told[0] if len(told) == 1 else f"the average of {len(told)}: {'; '.join(told)}"


@dataclass(frozen=True)
class Scores:
    """How good candidates are thought to be on ``T`` tasks: the average of the best is the last.

    ``prior`` and ``expected`` ``(T, C + 1)`` are accuracies above the candidates' mean, by past
    tasks and by all that is known; of values, ``expected`` is minus the squared error. ``loss`` and
    ``accuracy`` ``(T, C + 1)`` are those of images held out, NaN where there are none. ``members``
    ``(T, m)`` of the average.
    """

    prior: Tensor
    expected: Tensor
    loss: Tensor
    accuracy: Tensor
    temperature: Tensor
    members: Tensor


def score(
    compared: Compared | None,
    rounds: Rounds | None,
    candidates: Sequence[Candidate],
    parts: Sequence[str],
    labels: Tensor,
    target: Target,
    *,
    features: Tensor | None,
    table: PastTasks,
    without: str = "",
) -> Scores:
    """Judge the candidates; ``features`` ``(T, 7)`` find past tasks (None: of values, no prior)."""
    n_tasks = len(labels)
    names = [*(table.name_of(candidate, parts) for candidate in candidates), AVERAGE]
    blank = torch.zeros(n_tasks, len(names), dtype=torch.float64, device=labels.device)
    prior, weights = blank, OF_VALUES
    if features is not None:
        prior = table.expected(names, features.to(blank), without=without)
        weights = table.weights_at(labels.shape[1] / target.size)
    unknown = torch.full_like(blank, torch.nan)
    first = len(candidates)
    if compared is None or rounds is None:
        members = _best(prior[:, :first] if features is not None else blank[:, :first])
        return Scores(prior, prior, unknown, unknown, torch.ones_like(blank), members)
    below = compared.loss.mean(1, keepdim=True)
    above = compared.accuracy.mean(1, keepdim=True)

    def expected(believed: Tensor, loss: Tensor, accuracy: Tensor) -> Tensor:
        gain = weights.prior * believed + weights.loss * (below - loss)
        return gain if features is None else gain + weights.accuracy * (accuracy - above)

    own = expected(prior[:, :first], compared.loss, compared.accuracy)
    members = _best(own)
    of_average = average_of(compared, members, labels, target, rounds)
    loss, accuracy = (
        torch.cat([known, new[:, None]], dim=1)
        for known, new in zip((compared.loss, compared.accuracy), of_average, strict=True)
    )
    temperature = torch.cat([compared.temperature, torch.ones_like(loss[:, :1])], dim=1)
    return Scores(prior, expected(prior, loss, accuracy), loss, accuracy, temperature, members)


def _best(scores: Tensor) -> Tensor:
    """The best few of each task ``(T, m)``, the first of those that are equal."""
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices
    return order[:, :AVERAGED]


def pick(scores: Scores, task: int, candidates: Sequence[Candidate], *, margin: float = 0.0) -> int:
    """The default, the first candidate, unless of another more is expected, by the ``margin``.

    Else, or without a margin, the simplest of those that are as good as the best; the average is
    the last.
    """
    expected = scores.expected[task]
    if margin and expected[0] >= expected.max() - margin:
        return 0
    near = (expected >= expected.max() - TIE).nonzero()[:, 0].tolist()
    alone = [place for place in near if place < len(candidates)]
    return min(alone, key=lambda i: candidates[i].simplicity) if alone else len(candidates)


def chosen(scores: Scores, task: int, candidates: Sequence[Candidate], place: int) -> Choice:
    """The candidate at a place, as what is frozen."""
    places = scores.members[task].tolist() if place == len(candidates) else [place]
    temperature = scores.temperature[task]
    return Choice(
        members=tuple(candidates[i].name for i in places),
        temperatures=tuple(float(temperature[i]) for i in places),
    )
