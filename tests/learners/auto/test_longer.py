"""What a longer search adds: the best of what it tried, one penalty of each kind."""

from __future__ import annotations

import torch

from medmeta.episode import LabelledSet, Target
from medmeta.learners.auto.candidates import Candidate, candidates_of
from medmeta.learners.auto.longer import _best, further_candidates
from medmeta.learners.auto.past import PastTasks
from medmeta.learners.auto.searching import Search

PARTS = ("learned", "shape")


def ridge(penalty: float, parts: tuple[str, ...] = PARTS) -> Candidate:
    return Candidate(parts, "standardised", "ridge", penalty)


def test_the_best_penalty_stands_for_its_kind_and_what_is_known_is_left_out() -> None:
    losses = {ridge(0.2): 0.5, ridge(0.21): 0.4, ridge(0.1): 0.1, ridge(0.3, ("shape",)): 0.6}
    assert _best(losses, [ridge(0.1)]) == (ridge(0.21), ridge(0.3, ("shape",)))


def test_of_many_images_it_tries_what_can_be_solved() -> None:
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(8)
    support = LabelledSet(torch.randn(1, 16, 6, generator=chance), labels[None], torch.tensor([4]))
    search = Search(
        (ridge(0.1),), {"learned": 3, "shape": 3}, Target("classes", 2), PastTasks(), {}
    )
    found, _ = further_candidates(search, support, until=float("inf"), most=12)
    assert {candidate.head for candidate in found} == {"ridge"}


def test_a_search_finds_candidates_that_are_not_in_the_table() -> None:
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(8)
    inputs = torch.randn(1, 16, 6, generator=chance)
    inputs[0, :, 0] += 3 * labels
    search = Search(
        candidates_of(PARTS, "classes"), {"learned": 3, "shape": 3}, Target("classes", 2),
        PastTasks(), {},
    )  # fmt: skip
    support = LabelledSet(inputs, labels[None], torch.tensor([4]))
    found, tried = further_candidates(search, support, until=float("inf"), most=12)
    assert tried == 12
    assert 0 < len(found) <= 8
    assert not set(found) & set(search.candidates)
    again, _ = further_candidates(search, support, until=float("inf"), most=12)
    assert again == found  # seeded by the task
