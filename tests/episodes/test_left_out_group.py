"""Leaving out a site: the same query, answered from inside and from outside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.data.versions import SourceVersions
from medmeta.episodes.altered_query import AlteredQuery
from medmeta.episodes.left_out_group import LeftOutGroup, Support
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SamplingError
from tests.episodes.tables import table

CHANCE = np.random.default_rng(5)
N = 360
SITES = CHANCE.integers(-1, 3, N)  # -1: not known
LABELS = CHANCE.integers(0, 3, N)
PATIENTS = CHANCE.integers(0, 150, N)  # two or three images each, also across sites


def clinic(**changes: object) -> Source:
    return table(LABELS, patients=PATIENTS, **changes)


def sites(codes: np.ndarray = SITES) -> Column:
    return Column(codes.astype(np.int32), ("north", "south", "west"))


def protocol(**changes: object) -> Protocol:
    plain = {"n_way": (2, 3), "n_shot": (1, 3), "n_query": 4, "tasks_per_batch": 3, "seed": 11}
    return Protocol(sources=("clinic",), **{**plain, **changes})  # type: ignore[arg-type]


def pair(name: str) -> tuple[LeftOutGroup, LeftOutGroup]:
    source = clinic()
    inside, outside = (
        LeftOutGroup(source, protocol(), sites(), name, support=side) for side in Support
    )
    return inside, outside


@pytest.mark.parametrize("name", ["north", "south", "west"])
def test_both_answer_the_same_query_and_only_one_knows_the_site(name: str) -> None:
    inside, outside = pair(name)
    code = ("north", "south", "west").index(name)
    for task in range(300):
        a, b = inside.draw(task), outside.draw(task)
        np.testing.assert_array_equal(a.query_rows, b.query_rows)
        assert a.classes == b.classes
        np.testing.assert_array_equal(a.support_labels, b.support_labels)
        assert (SITES[a.query_rows] == code).all()
        assert (SITES[a.support_rows] == code).all()
        assert (SITES[b.support_rows] != code).all()
        assert (SITES[b.support_rows] >= 0).all()
        for drawn in (a, b):
            names = np.array(drawn.classes)
            np.testing.assert_array_equal(
                names[drawn.support_labels], [f"class {c}" for c in LABELS[drawn.support_rows]]
            )
            assert not set(PATIENTS[drawn.support_rows]) & set(PATIENTS[drawn.query_rows])
            assert len(set(drawn.support_rows.tolist())) == len(drawn.support_rows)


def test_a_patient_who_was_at_both_sites_may_be_learned_from_but_not_for_himself() -> None:
    _, outside = pair("south")
    ours = set(PATIENTS[SITES == 1].tolist())
    draws = [outside.draw(task) for task in range(300)]
    assert any(ours & set(PATIENTS[d.support_rows].tolist()) for d in draws)
    for drawn in draws:
        assert not set(PATIENTS[drawn.support_rows]) & set(PATIENTS[drawn.query_rows])


def test_where_every_patient_was_at_both_sites_support_comes_of_other_patients() -> None:
    """As in a study of scanners: 40 patients, each once on either; one image of each class."""
    patients, codes = np.repeat(np.arange(40), 2), np.tile([0, 1], 40)
    source = table(np.repeat(np.arange(40) % 2, 2), patients=patients)
    column = Column(codes.astype(np.int32), ("old", "new"))
    asked = protocol(n_way=(2, 2))
    outside = LeftOutGroup(source, asked, column, "new", support=Support.OUTSIDE)
    for task in range(200):
        drawn = outside.draw(task)
        assert (codes[drawn.support_rows] == 0).all()
        assert not set(patients[drawn.support_rows]) & set(patients[drawn.query_rows])


def test_an_identical_picture_elsewhere_is_no_support_from_outside() -> None:
    pictures = np.arange(N)
    pictures[SITES == 0] = np.arange((SITES == 0).sum())  # each of north's ...
    others = np.flatnonzero(SITES == 1)[: (SITES == 0).sum()]
    pictures[others] = np.arange(len(others))  # ... is one of south's too
    source = table(LABELS, pictures=pictures)
    outside = LeftOutGroup(source, protocol(), sites(), "north", support=Support.OUTSIDE)
    for task in range(100):
        drawn = outside.draw(task)
        assert not set(pictures[drawn.support_rows]) & set(pictures[drawn.query_rows])


def test_a_task_depends_on_its_number_alone() -> None:
    first, again = pair("north")[1], pair("north")[1]
    backwards = {task: again.draw(task) for task in reversed(range(20))}
    for task in range(20):
        np.testing.assert_array_equal(first.draw(task).support_rows, backwards[task].support_rows)


def test_support_from_outside_is_spread_over_all_that_may_give_it() -> None:
    _, outside = pair("north")
    seen = {int(row) for task in range(2000) for row in outside.draw(task).support_rows}
    assert seen == {i for i in range(N) if SITES[i] > 0}


def test_a_class_that_others_lack_is_not_asked_about() -> None:
    codes = SITES.copy()
    codes[(LABELS == 2) & (codes > 0)] = -1
    source = clinic()
    sampler = LeftOutGroup(
        source, protocol(n_way=(2, 2)), sites(codes), "north", support=Support.INSIDE
    )
    drawn = {name for task in range(50) for name in sampler.draw(task).classes}
    assert drawn == {"class 0", "class 1"}
    with pytest.raises(SamplingError, match="2 of its classes surely have 3 labelled images"):
        LeftOutGroup(source, protocol(), sites(codes), "north", support=Support.INSIDE)


def test_a_group_that_is_too_small_is_refused() -> None:
    codes = SITES.copy()
    codes[np.flatnonzero(codes == 2)[3:]] = 0
    with pytest.raises(SamplingError, match=r"clinic: .*a task needs"):
        LeftOutGroup(clinic(), protocol(), sites(codes), "west", support=Support.INSIDE)


def test_values_have_sites_too() -> None:
    source = table(values=np.arange(N, dtype=np.float32), patients=PATIENTS)
    asked = protocol(kind="values", n_way=(1, 1), n_shot=(5, 5))
    inside, outside = (
        LeftOutGroup(source, asked, sites(), "west", support=side) for side in Support
    )
    a, b = inside.draw(3), outside.draw(3)
    np.testing.assert_array_equal(a.query_rows, b.query_rows)
    assert len(b.support_rows) == 5
    assert (SITES[b.support_rows] != 2).all()


def test_an_altered_query_is_the_same_task_with_other_query_rows() -> None:
    source = replace(clinic())
    versions = SourceVersions.of(source, [lambda p, _: p, lambda p, _: 255 - p])
    plain = TaskSampler([source], protocol())
    for version in range(3):
        sampler = AlteredQuery(source, versions, protocol(), version=version)
        for task in range(30):
            a, b = plain.draw(task), sampler.draw(task)
            np.testing.assert_array_equal(a.support_rows, b.support_rows)
            np.testing.assert_array_equal(a.query_rows + version * N, b.query_rows)
