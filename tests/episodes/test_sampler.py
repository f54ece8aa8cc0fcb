import contextlib
import subprocess
import sys
import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import Stream, TaskSampler
from medmeta.errors import SamplingError
from tests.episodes.tables import table

TWENTY = table(np.repeat(np.arange(8), 20))


def sampler(*sources, **changes):
    plain = {"n_way": (3, 3), "n_shot": (2, 2), "n_query": 4, "seed": 5}
    return TaskSampler(sources, Protocol(sources=tuple(s.name for s in sources), **plain | changes))


def as_tuple(draw):
    columns = (draw.support_rows, draw.support_labels, draw.query_rows, draw.query_labels)
    return (draw.task, draw.source, draw.classes, *(tuple(c.tolist()) for c in columns))


def check_task(drawn, source, shot, n_query):
    """What holds of every task: shape, labels, and nothing shared by support and query."""
    way = len(drawn.classes) or 1
    rows = np.concatenate([drawn.support_rows, drawn.query_rows])
    assert len(set(drawn.classes)) == len(drawn.classes)
    assert drawn.support_labels.tolist() == np.repeat(range(way), shot).tolist()
    assert drawn.query_labels.tolist() == np.repeat(range(way), n_query).tolist()
    assert len(set(rows.tolist())) == way * (shot + n_query)
    if drawn.classes:
        labels = np.concatenate([drawn.support_labels, drawn.query_labels])
        truth = [source.index.labels.names[c] for c in source.index.labels.codes[rows]]
        assert truth == [drawn.classes[label] for label in labels]
    for column in (source.index.patients.codes, source.hashes):
        asked = column[drawn.query_rows]
        shared = np.intersect1d(column[drawn.support_rows], asked[asked >= 0])
        assert not len(shared)


def test_a_task_does_not_depend_on_the_order_or_on_the_worker():
    tasks = [as_tuple(sampler(TWENTY).draw(i)) for i in range(24)]
    backwards = sampler(TWENTY)
    assert [as_tuple(backwards.draw(i)) for i in reversed(range(24))] == tasks[::-1]
    for workers in (1, 2, 3, 5):
        dealt = {}
        for rank in range(workers):
            own = sampler(TWENTY)
            dealt |= {i: as_tuple(own.draw(i)) for i in range(rank, 24, workers)}
        assert [dealt[i] for i in range(24)] == tasks
    assert len(set(tasks)) == 24


def test_a_task_is_the_same_in_another_process():
    code = (
        "from tests.episodes.test_sampler import TWENTY, as_tuple, sampler;"
        "print([as_tuple(sampler(TWENTY).draw(i)) for i in (0, 7, 10**9)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([as_tuple(sampler(TWENTY).draw(i)) for i in (0, 7, 10**9)])


def test_other_seeds_draw_other_tasks():
    drawn = {as_tuple(sampler(TWENTY, seed=s).draw(0)) for s in (0, 1, 2, 2**32, 2**63 - 1)}
    assert len(drawn) == 5


def test_streams_never_meet():
    one = sampler(TWENTY)
    first = [tuple(one.generator(s, n).integers(2**60, size=4)) for s in Stream for n in range(9)]
    assert len(set(first)) == len(first)


def test_the_protocol_draws_the_tasks_it_drew_when_it_was_first_released():
    golden = sampler(TWENTY).draw(3)
    assert golden.classes == ("class 2", "class 5", "class 6")
    assert golden.support_rows.tolist() == [58, 49, 114, 100, 121, 134]


STRUCTURES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-1, 7), st.integers(0, 30)), min_size=4, max_size=40
)


@given(STRUCTURES, st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_support_and_query_share_no_row_patient_or_picture(rows, shot, n_query, drop):
    source = table(
        [r[0] for r in rows], patients=[r[1] for r in rows], pictures=[r[2] for r in rows]
    )
    with contextlib.suppress(SamplingError):  # when it may be raised: the test below
        drawer = sampler(
            source, n_way=(2, 3), n_shot=(shot, shot), n_query=n_query, drop_small_classes=drop
        )
        for i in range(4):
            check_task(drawer.draw(i), source, shot, n_query)


SMALL = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=6, max_size=24)


@given(SMALL, st.integers(1, 3), st.integers(1, 3))
def test_a_task_is_found_exactly_where_the_patients_can_be_parted(rows, shot, n_query):
    labels, patients = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    assume(len(set(labels.tolist())) == 3)
    counts = np.zeros((3, 7), int)
    np.add.at(counts, (labels, patients), 1)
    sides = np.array(list(product([0, 1], repeat=7)))
    support, query = counts @ sides.T, counts @ (1 - sides).T
    possible = ((support >= shot).all(0) & (query >= n_query).all(0)).any()
    source = table(labels, patients=patients)
    try:
        drawer = sampler(source, n_shot=(shot, shot), n_query=n_query)
        check_task(drawer.draw(0), source, shot, n_query)
    except SamplingError:
        assert not possible
    else:
        assert possible


def test_a_patient_with_most_images_of_each_class_is_never_split():
    # Only the one lone image of each class can be its support: chance alone hardly ever finds it.
    labels = np.repeat(np.arange(5), 21)
    patients = np.concatenate([[2 * c, *[2 * c + 1] * 20] for c in range(5)])
    source = table(labels, patients=patients)
    drawer = sampler(source, n_way=(5, 5), n_shot=(1, 1), n_query=15)
    for i in range(20):
        drawn = drawer.draw(i)
        check_task(drawn, source, 1, 15)
        assert (drawn.support_rows % 21 == 0).all()


def test_ten_thousand_tasks_of_patients_in_two_classes():
    random = np.random.default_rng(0)
    labels, patients = np.repeat([0, 1], 300), random.integers(0, 90, 600)
    both = np.intersect1d(patients[:300], patients[300:])
    assert len(both) > 60  # nearly every patient is in both classes
    drawer = sampler(table(labels, patients=patients), n_way=(2, 2), n_shot=(5, 5), n_query=5)
    for i in range(10_000):
        drawn = drawer.draw(i)
        assert not set(patients[drawn.support_rows]) & set(patients[drawn.query_rows])


def test_way_and_shot_are_drawn_for_each_batch():
    drawer = sampler(TWENTY, n_way=(2, 5), n_shot=(1, 3), tasks_per_batch=4)
    shapes = []
    for batch in range(200):
        target, shot = drawer.shape(batch)
        shapes.append((target.size, shot))
        drawn = drawer.draw(4 * batch + 3)
        assert len(drawn.classes) == target.size
        check_task(drawn, TWENTY, shot, 4)
    counts = [shapes.count((way, shot)) for way in range(2, 6) for shot in range(1, 4)]
    assert sum(counts) == 200
    assert chisquare(counts).pvalue > 1e-3


def test_a_batch_of_another_size_draws_the_same_tasks():
    one, eight = sampler(TWENTY), sampler(TWENTY, tasks_per_batch=8)
    assert [as_tuple(one.draw(i)) for i in range(20)] == [
        as_tuple(eight.draw(i)) for i in range(20)
    ]


def test_classes_and_images_are_drawn_evenly():
    sizes = [6, 12, 24, 48]
    source = table(np.repeat(np.arange(4), sizes))
    drawer = sampler(source, n_way=(2, 2), n_shot=(1, 1), n_query=2)
    classes, rows, firsts = [], [], []
    for i in range(3000):
        drawn = drawer.draw(i)
        classes += drawn.classes
        firsts.append(drawn.classes[0])
        rows += [*drawn.support_rows, *drawn.query_rows]
    for names in (classes, firsts):  # large classes are not drawn more often, and none stands first
        assert chisquare([names.count(f"class {c}") for c in range(4)]).pvalue > 1e-3
    counts = np.bincount(rows, minlength=90)
    for part in np.split(counts, np.cumsum(sizes)[:-1]):
        assert chisquare(part).pvalue > 1e-3


def test_images_are_drawn_evenly_where_patients_have_equally_many():
    source = table(np.repeat([0, 1], 24), patients=np.arange(48) // 2)
    drawer = sampler(source, n_way=(2, 2), n_shot=(2, 2), n_query=3)
    draws = [drawer.draw(i) for i in range(3000)]
    for rows in ([d.support_rows for d in draws], [d.query_rows for d in draws]):
        counts = np.bincount(np.concatenate(rows), minlength=48)
        assert counts.min() > 0.8 * counts.mean()
        assert counts.max() < 1.2 * counts.mean()


@pytest.mark.parametrize("linked", [False, True])
def test_the_cost_of_a_draw_does_not_grow_with_the_source(monkeypatch, linked):
    used, memory = [], []
    for n in (10_000, 1_000_000):
        labels = np.arange(n) % 10
        drawer = sampler(table(labels, patients=np.arange(n) // 20 if linked else None))
        made, generator = [], drawer.generator
        monkeypatch.setattr(
            drawer, "generator", lambda *a, g=generator, m=made: m.append(g(*a)) or m[-1]
        )
        drawer.draw(0)
        tracemalloc.start()
        for i in range(1, 30):
            drawer.draw(i)
        memory.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        # Philox gives four numbers each time that its counter goes up by one.
        used.append(sum(int(g.bit_generator.state["state"]["counter"][0]) for g in made))
    assert max(memory) < 200_000
    assert max(used) / 30 < 60
    assert used[1] < 1.5 * used[0]


def test_one_class_alone_is_no_task():
    with pytest.raises(SamplingError, match=r"clinic has 1 usable class; .* at least two"):
        sampler(table([0] * 20))


def test_more_ways_than_classes_name_the_source_and_both_numbers():
    with pytest.raises(SamplingError, match=r"clinic has 8 usable classes, fewer than --way 9\."):
        sampler(TWENTY, n_way=(9, 9))
    with pytest.raises(SamplingError, match="8 usable classes, fewer than --way 12"):
        sampler(TWENTY, n_way=(2, 12))


def test_sources_of_one_name_are_told_apart():
    with pytest.raises(SamplingError, match="8 usable classes, fewer than --way 9"):
        sampler(table(np.repeat([0, 1], 20)), TWENTY, n_way=(2, 9))


def test_a_task_of_many_ways_comes_from_a_source_that_has_them():
    few = table(np.repeat([0, 1], 20), name="few")
    drawer = sampler(few, TWENTY, n_way=(2, 5))
    draws = [drawer.draw(i) for i in range(200)]
    assert {d.source for d in draws if len(d.classes) > 2} == {1}
    assert {d.source for d in draws if len(d.classes) == 2} == {0, 1}


def test_patients_that_cannot_be_parted_across_classes_are_an_error_with_counts():
    # Each class alone would do, but both have the same two patients, on opposite sides.
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    patients = [0, 1, 1, 1, 0, 0, 0, 1]
    drawer = sampler(table(labels, patients=patients), n_way=(2, 2), n_shot=(1, 1), n_query=3)
    with pytest.raises(
        SamplingError, match=r"clinic: .*class 0 \(4 images\).* 1 support and 3 query"
    ):
        drawer.draw(0)


def test_values_have_no_classes_and_query_counts_in_all():
    source = table(values=np.arange(30.0), patients=np.arange(30) // 3)
    drawer = sampler(source, kind="values", n_way=(1, 1), n_shot=(6, 6), n_query=9)
    for i in range(50):
        drawn = drawer.draw(i)
        assert drawn.classes == ()
        check_task(drawn, source, 6, 9)
