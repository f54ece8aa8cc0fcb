"""The search of many tasks at once: features, folds, comparison and choice of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medmeta.episode import LabelledSet, Target, any_tensor
from medmeta.learners.auto.candidates import AVERAGE, Candidate
from medmeta.learners.auto.choosing import Choice, Scores, chosen, pick, score
from medmeta.learners.auto.comparing import Rounds, compare, draw_rounds
from medmeta.learners.auto.fitting import MANY
from medmeta.learners.auto.past import PastTasks, task_features
from medmeta.learners.auto.preparing import part_kernels
from medmeta.learners.classical._estimators import task_seed

TOGETHER = 6_000_000  # numbers of prepared embeddings that are compared at once
MOST_COMPARED = 150
"""Images by which candidates are compared; the chosen one learns from all."""


@dataclass(frozen=True)
class Search:
    """What is searched: candidates of parts, with what is known of source data and past tasks."""

    candidates: tuple[Candidate, ...]
    sizes: Mapping[str, int]
    target: Target
    table: PastTasks
    variances: Mapping[str, Tensor]
    without: str = ""


@dataclass(frozen=True)
class Found:
    """What was found for one task: the scores of those that were tried, and the choice.

    ``place`` is that of the chosen one; the average comes after the candidates.
    """

    choice: Choice
    candidates: tuple[Candidate, ...]
    scores: Scores
    place: int
    rounds: Rounds | None
    features: Tensor | None
    images: int


def parts_of(embeddings: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Embeddings ``(..., D)`` by part."""
    parts = torch.split(embeddings, list(sizes.values()), dim=-1)
    return dict(zip(sizes, parts, strict=True))


def search(search: Search, support: LabelledSet, *, until: float | None = None) -> list[Found]:
    """Choose for each task of a support with embeddings ``(T, S, D)``.

    Where the clock passes ``until``, what is left is not tried.
    """
    found: list[Found] = []
    for part in pieces(support, search):
        rounds = draw_rounds(part, search.target)
        alone = rounds is None and part.n_tasks > 1  # some of them can be compared, perhaps
        for tasks in [part.tasks(t, t + 1) for t in range(part.n_tasks)] if alone else [part]:
            rounds = draw_rounds(tasks, search.target) if alone else rounds
            found += _searched(search, tasks, rounds, until)
    return found


def pieces(support: LabelledSet, search: Search) -> Iterator[LabelledSet]:
    """As many tasks as are compared at once, of no more images than are."""
    some = support
    if support.n_examples > MOST_COMPARED:
        for t in range(support.n_tasks):
            yield _fewer(support.tasks(t, t + 1), search.target)
        return
    each = 10 * support.n_examples * any_tensor(support.inputs).shape[-1]
    size = max(1, TOGETHER // each)
    for first in range(0, support.n_tasks, size):
        yield some.tasks(first, first + size)


def _fewer(task: LabelledSet, target: Target) -> LabelledSet:
    """Some images of one task, as evenly from its classes as they come; at least two of each."""
    chance = np.random.default_rng(task_seed(task.task_ids[0]))
    order = chance.permutation(task.n_examples)
    if target.kind == "classes":
        labels = task.labels[0].cpu().numpy()[order]
        turn = np.zeros(len(order), dtype=int)
        for label in range(target.size):
            turn[labels == label] = np.arange(int((labels == label).sum()))
        order = order[np.argsort(turn, kind="stable")]
    most = max(MOST_COMPARED, 2 * target.size)
    return task.images(torch.from_numpy(np.sort(order[:most])).to(task.labels.device))


def _searched(
    search: Search, support: LabelledSet, rounds: Rounds | None, until: float | None
) -> list[Found]:
    embeddings = parts_of(any_tensor(support.inputs), search.sizes)
    features = _features(search, embeddings, support)
    compared, candidates = None, search.candidates
    if rounds is not None:
        compared = compare(
            embeddings, support, search.target, rounds, candidates, search.variances, until=until
        )
        candidates = candidates[: compared.loss.shape[1]]
    scores = score(
        compared, rounds, candidates, tuple(search.sizes), support.labels, search.target,
        features=features, table=search.table, without=search.without,
    )  # fmt: skip
    found = []
    for t in range(support.n_tasks):
        place = pick(scores, t, candidates, margin=0.0 if features is None else search.table.margin)
        if compared is None and search.target.kind == "values":
            place = 0
        choice = chosen(scores, t, candidates, place)
        own = _of_task(scores, t)
        known = None if features is None else features[t]
        found.append(Found(choice, candidates, own, place, rounds, known, support.n_examples))
    return found


def _features(
    search: Search, embeddings: Mapping[str, Tensor], support: LabelledSet
) -> Tensor | None:
    if search.target.kind == "values":
        return None
    return task_features(support.labels, search.target.size, task_kernels(embeddings))


def task_kernels(embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of each part, products ``(T, S, S)`` of all images, prepared by all of them."""
    some = next(iter(embeddings.values()))
    kernels = part_kernels(embeddings, some.new_ones(len(some), 1, some.shape[1]), "plain", {})
    return {name: kernel[:, 0] for name, kernel in kernels.items()}


def _of_task(scores: Scores, t: int) -> Scores:
    return Scores(**{name: value[t : t + 1] for name, value in vars(scores).items()})


def candidates_for(candidates: Sequence[Candidate], n_examples: int) -> tuple[Candidate, ...]:
    """Those that can be solved for so many images."""
    if n_examples <= MANY:
        return tuple(candidates)
    return tuple(candidate for candidate in candidates if candidate.head == "ridge")


def names_of(found: Found) -> list[str]:
    """Names of what was tried; the average is the last."""
    return [*(candidate.name for candidate in found.candidates), AVERAGE]
