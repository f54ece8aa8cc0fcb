"""What is chosen: the part that carries the class, the simpler of equals, nothing without folds."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.errors import SettingsError
from medmeta.learners import build_learner
from medmeta.learners.auto import fitting, searching
from medmeta.learners.auto import head as auto_head
from medmeta.learners.auto.candidates import Candidate, candidates_of, default_of
from medmeta.learners.auto.choosing import Choice, Scores, pick
from medmeta.learners.auto.comparing import compare, draw_rounds, scored
from medmeta.learners.auto.fitting import Prepared, fit
from medmeta.learners.auto.head import AutoConfig, AutoHead
from medmeta.learners.auto.past import PastTasks
from medmeta.learners.auto.preparing import Scale
from medmeta.learners.auto.searching import parts_of

SIZES = {"learned": 6, "hand_made": 4}
TWO = Target("classes", 2)


def planted(
    *, shot: int = 6, carries: str = "hand_made", noise: float = 3.0, seed: int = 0
) -> LabelledSet:
    """One task of two classes, told apart by one part alone; the other is strong noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(2).repeat_interleave(shot)
    columns = {
        name: torch.randn(2 * shot, size, generator=random) * (0.3 if name == carries else noise)
        for name, size in SIZES.items()
    }
    columns[carries][:, 0] += 4.0 * labels
    inputs = torch.cat(list(columns.values()), dim=1)[None]
    return LabelledSet(inputs, labels[None], torch.tensor([seed]))


def head(**options: object) -> AutoHead:
    return AutoHead(AutoConfig.model_validate(options), SIZES, TWO)


@pytest.mark.parametrize("carries", SIZES)
def test_the_part_that_carries_the_class_is_chosen(
    carries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is held out alone: nothing is known of past tasks."""
    monkeypatch.setattr(auto_head, "past_tasks", PastTasks)
    settled = head().settled(planted(carries=carries), TWO)
    members = [Candidate.read(name) for name in settled.options["choice"]["members"]]
    assert {member.parts for member in members} == {(carries,)}
    asked = planted(carries=carries, shot=50, seed=1)
    logits = settled.learner.adapt(planted(carries=carries), TWO)(asked.inputs)
    assert float((logits.argmax(-1) == asked.labels).double().mean()) > 0.95


def test_of_two_that_are_as_good_the_simpler_is_taken() -> None:
    both = candidates_of(tuple(SIZES), "classes")
    n = len(both) + 1
    blank = torch.zeros(1, n, dtype=torch.double)
    scores = Scores(blank, blank, blank, blank, torch.ones(1, n), torch.tensor([[0, 1, 2]]))
    taken = both[pick(scores, 0, both)]
    assert (len(taken.parts), taken.head, taken.preparation) == (1, "centroid", "plain")
    better = blank.clone()
    better[0, 5] = 0.01
    assert pick(replace(scores, expected=better), 0, both) == 5
    better[0, -1] = 0.02
    assert pick(replace(scores, expected=better), 0, both) == n - 1


def test_what_is_frozen_answers_as_the_search_did() -> None:
    support, asked = planted(), planted(seed=5, shot=4)
    one = head()
    settled = one.settled(support, TWO)
    searched = one.adapt(support, TWO)(asked.inputs)
    frozen = settled.learner.adapt(support, TWO)(asked.inputs)
    torch.testing.assert_close(frozen, searched, atol=0, rtol=0)
    again = head(**settled.options).adapt(support, TWO)(asked.inputs)
    torch.testing.assert_close(again, searched, atol=0, rtol=0)


def test_what_is_frozen_compares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = head().settled(planted(), TWO)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("folds were drawn")

    monkeypatch.setattr(searching, "draw_rounds", fail)
    settled.learner.adapt(planted(), TWO)
    with pytest.raises(AssertionError, match="folds were drawn"):
        head().adapt(planted(), TWO)


def test_the_record_says_what_was_compared() -> None:
    record = head().settled(planted(), TWO).record
    assert record["tried"] == record["of"] == len(candidates_of(tuple(SIZES), "classes"))
    assert len(record["candidates"]) == record["tried"] + 1
    assert (record["folds"], record["repeats"]) == (5, 3)
    expected = [row["expected"] for row in record["candidates"]]
    assert expected == sorted(expected, reverse=True)
    assert 0 < record["seconds"] < 60


def test_one_image_of_a_class_leaves_nothing_to_compare() -> None:
    support = planted(shot=6).images(torch.tensor([0, 1, 2, 6]))
    settled = head().settled(support, TWO)
    assert settled.record["tried"] == 0
    assert "impossible" in settled.record["how"]
    assert all(row["loss"] is None for row in settled.record["candidates"])
    assert settled.learner.adapt(support, TWO)(support.inputs).shape == (1, 4, 2)


def test_one_patient_in_all_classes_leaves_nothing_to_compare() -> None:
    support = replace(planted(), groups=torch.zeros(1, 12, dtype=torch.long))
    assert head().settled(support, TWO).record["tried"] == 0


def test_no_fold_parts_a_patient() -> None:
    groups = torch.tensor([[0, 0, 0, 1, 2, 3, 4, 4, 5, 5, 6, 7]])
    rounds = draw_rounds(replace(planted(), groups=groups), TWO)
    assert rounds is not None
    for fold in rounds.ask[0]:
        for group in groups.unique():
            assert len(fold[groups[0] == group].unique()) == 1
    torch.testing.assert_close(rounds.ask.sum(1), torch.full((1, 12), 3.0).double())


def test_answers_to_images_held_out_are_those_of_the_others_alone() -> None:
    support = planted(noise=1.0)
    candidates = candidates_of(tuple(SIZES), "classes")
    embeddings = parts_of(_numbers(support), SIZES)
    rounds = draw_rounds(support, TWO)
    assert rounds is not None
    compared = compare(embeddings, support, TWO, rounds, candidates, {})
    kept, held = (part[0, 2] > 0 for part in (rounds.learn, rounds.ask))
    for place, candidate in enumerate(candidates):
        temperature = float(compared.temperature[0, place])
        choice = Choice(members=(candidate.name,), temperatures=(temperature,))
        known = {name: part[0][kept] for name, part in embeddings.items()}
        answer = fit(choice, known, support.labels[0][kept], TWO, {})
        asked = answer({name: part[0][held] for name, part in embeddings.items()})
        expected = compared.likely[0, place, 2][held]
        torch.testing.assert_close(asked.log_softmax(-1).double(), expected, atol=1e-4, rtol=1e-4)


def _numbers(support: LabelledSet) -> Tensor:
    assert isinstance(support.inputs, Tensor)
    return support.inputs


def test_the_loss_counts_classes_alike() -> None:
    """Two images of one class are answered 1/2, one of the other 3/4: -(ln 1/2 + ln 3/4) / 2."""
    labels = torch.tensor([[0, 0, 1]])
    outputs = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [0.0, math.log(3)]]]).double()[:, None]
    support = LabelledSet(torch.zeros(1, 3, 1), labels, torch.zeros(1))
    rounds = draw_rounds(replace(support, labels=torch.tensor([[0, 0, 0]])), Target("classes", 1))
    assert rounds is not None
    ask = torch.ones(1, 1, 3).double()
    loss, accuracy, temperature, _ = scored(outputs, labels, TWO, replace(rounds, ask=ask))
    sharper = float(temperature)
    third = 3**sharper / (1 + 3**sharper)
    assert float(loss) == pytest.approx(-(math.log(0.5) + math.log(third)) / 2)
    assert sharper > 1  # the one that was told was told rightly
    assert float(accuracy) == 1.0  # of equal classes the first is answered


def test_no_budget_takes_the_default_without_looking() -> None:
    settled = head().settled(planted(), TWO, seconds=0)
    assert list(settled.options["choice"]["members"]) == [default_of(tuple(SIZES), "classes").name]
    assert settled.procedure is None
    assert settled.record["tried"] == 0


def test_a_search_that_time_ended_is_repeated_by_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clock that gains a second whenever it is looked at stops the search after some."""
    ticks = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    settled = head().settled(planted(), TWO, seconds=5)
    tried = settled.record["tried"]
    assert 1 <= tried < settled.record["of"]
    assert "time was up" in settled.record["how"]
    monkeypatch.undo()
    again = head(tried=tried).settled(planted(), TWO)
    assert again.options == settled.options
    assert settled.procedure is not None
    asked = planted(seed=3).inputs
    torch.testing.assert_close(
        settled.procedure.adapt(planted(), TWO)(asked), settled.learner.adapt(planted(), TWO)(asked)
    )


def test_many_images_are_solved_by_the_numbers_of_an_embedding() -> None:
    """Ridge by numbers and by images is one ridge."""
    support = planted(shot=40, noise=1.0)
    embeddings = {name: part[0] for name, part in parts_of(_numbers(support), SIZES).items()}
    ridge = "learned+hand_made/standardised/ridge/0.1"
    choice = Choice(members=(ridge,), temperatures=(1.0,))
    by_images = fit(choice, embeddings, support.labels[0], TWO, {})(embeddings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "MANY", 10)
        by_numbers = fit(choice, embeddings, support.labels[0], TWO, {})(embeddings)
    torch.testing.assert_close(by_numbers, by_images, atol=1e-4, rtol=1e-4)


def test_a_bounded_choice_among_many_images_is_of_those_that_can_be_solved() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "MANY", 10)
        for tried in (1, 3):
            found = head(tried=tried).settled(planted(shot=20), TWO)
            assert all("/ridge/" in name for name in found.learner.config.choice.members)


@pytest.mark.parametrize("preparation", ["plain", "standardised"])
def test_a_part_that_all_embeddings_share_changes_nothing(preparation: str) -> None:
    """Nearly parallel embeddings, as after a ReLU: in single as in double precision."""
    random = torch.Generator().manual_seed(0)
    spread = torch.rand(6, generator=random, dtype=torch.float64)
    numbers = 1e4 + spread * torch.randn(1, 30, 6, generator=random, dtype=torch.float64)
    mask = torch.ones(1, 2, 30, dtype=torch.float64)
    mask[0, 1, :7] = 0
    single, double = (
        Scale.of(numbers.to(kind), mask.to(kind), preparation).factor.double()
        for kind in (torch.float32, torch.float64)
    )
    torch.testing.assert_close(single, double, rtol=1e-3, atol=1e-6)


def test_a_committee_is_the_mean_of_the_probabilities_of_its_members() -> None:
    support, asked = planted(), planted(seed=4)
    known = {name: part[0] for name, part in parts_of(_numbers(support), SIZES).items()}
    queries = {name: part[0] for name, part in parts_of(_numbers(asked), SIZES).items()}

    def likely(name: str) -> Tensor:
        choice = Choice(members=(name,), temperatures=(1.0,))
        return fit(choice, known, support.labels[0], TWO, {})(queries).softmax(-1)

    whole, alone = "learned+hand_made/standardised", "hand_made/standardised"
    members = [
        likely(f"{parts}/{head}")
        for parts in (whole, alone)
        for head in ("ridge/0.1", "lda/0.1", "kernel/0.3")
    ]
    found = likely(f"{whole}/committee/0")
    torch.testing.assert_close(found, torch.stack(members).mean(0), atol=1e-5, rtol=1e-5)


def test_what_was_learned_counts_twice_where_it_leads() -> None:
    """Two thirds of the squared length are its, of two parts; where images are held out too."""
    support, asked = planted(), planted(seed=4)
    known = {name: part[0] for name, part in parts_of(_numbers(support), SIZES).items()}
    queries = {name: part[0] for name, part in parts_of(_numbers(asked), SIZES).items()}
    name = "learned+hand_made/leading/ridge/0.1"
    choice = Choice(members=(name,), temperatures=(1.0,))
    found = fit(choice, known, support.labels[0], TWO, {})(queries)
    alone = [
        Prepared.of(known, Candidate.read(f"{part}/standardised/ridge/0.1"), {}) for part in SIZES
    ]
    shares = (2 / 3, 1 / 3)
    both = list(zip(alone, shares, strict=True))
    kernel = sum(w * (one.known @ one.known.T).double() for one, w in both)
    across = sum(w * (one.queries(queries) @ one.known.T).double() for one, w in both)
    wanted = torch.nn.functional.one_hot(support.labels[0], 2).double() - 0.5
    inverse = torch.linalg.inv(kernel + 1 + 0.1 * torch.eye(len(wanted)))
    coefficients = inverse @ wanted * 8
    by_hand = (across + 1) @ coefficients
    torch.testing.assert_close(found.double(), by_hand, atol=1e-4, rtol=1e-4)
    assert default_of(tuple(SIZES), "classes").name == "learned+hand_made/leading/committee/0"
    assert default_of(("waves", "waveform"), "classes").preparation == "standardised"


def test_a_table_that_knows_no_leading_committee_has_the_plain_one() -> None:
    names = ("learned+hand_made/standardised/committee/0", "average")
    table = PastTasks(candidates=names)
    leading = Candidate.read("learned+hand_made/leading/committee/0")
    assert table.name_of(leading, tuple(SIZES)) == names[0]


@pytest.mark.parametrize(("more", "place"), [(0.11, 0), (0.13, 5)])
def test_the_default_is_kept_unless_more_than_the_margin_is_expected(
    more: float, place: int
) -> None:
    candidates = candidates_of(tuple(SIZES), "classes")
    blank = torch.zeros(1, len(candidates) + 1, dtype=torch.double)
    expected = blank.clone()
    expected[0, 5] = more
    scores = Scores(blank, expected, blank, blank, torch.ones(1, 1), torch.tensor([[0]]))
    assert pick(scores, 0, candidates, margin=0.12) == place


def test_values_are_chosen_for_too() -> None:
    random = torch.Generator().manual_seed(2)
    numbers = torch.randn(1, 30, 10, generator=random)
    values = numbers[..., 6:7] * 2 + 1  # of the second part
    target = Target("values", 1)
    support = LabelledSet(numbers[:, :20], values[:, :20], torch.zeros(1))
    chosen = AutoHead(AutoConfig(), SIZES, target).settled(support, target)
    members = [Candidate.read(name) for name in chosen.options["choice"]["members"]]
    assert all("hand_made" in member.parts for member in members)
    answers = chosen.learner.adapt(support, target)(numbers[:, 20:])
    error = float((answers - values[:, 20:]).square().mean())
    assert error < 0.2 * float(values[:, 20:].var())


@pytest.mark.parametrize(
    ("members", "temperatures"),
    [
        ((), ()),
        (("learned/plain/ridge/1",), ()),
        (("learned/plain/ridge/1",), (-1.0,)),
        (("nonsense",), (1.0,)),
    ],
)
def test_a_choice_that_is_none_is_refused(members: object, temperatures: object) -> None:
    with pytest.raises((ValidationError, SettingsError)):
        Choice.model_validate({"members": members, "temperatures": temperatures})


@pytest.mark.parametrize(
    "name",
    ["", "a/b/c/d", "a/plain/ridge", "a/plain/ridge/nan", "a/plain/ridge/-1", "/plain/lda/1"],
)
def test_a_candidate_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="candidate"):
        Candidate.read(name)


def test_every_candidate_is_read_from_its_name() -> None:
    for parts in (("learned",), ("learned", "hand_made"), ("learned", "hog", "colour")):
        for kind in ("classes", "values"):
            every = candidates_of(parts, kind)  # type: ignore[arg-type]
            assert len(set(every)) == len(every)
            assert [Candidate.read(one.name) for one in every] == list(every)


def test_a_choice_of_other_parts_is_refused() -> None:
    choice = {"members": ["radiology/plain/ridge/1"], "temperatures": [1.0]}
    with pytest.raises(SettingsError, match="radiology"):
        build_learner("auto", {"choice": choice}, InputSpec(1, (16, 16)), TWO)
