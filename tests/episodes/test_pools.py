import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medmeta.episodes.pools import ClassPool, class_pools
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SamplingError
from tests.episodes.tables import table


def protocol(**changes):
    plain = {"sources": ("clinic",), "n_way": (2, 2), "n_shot": (2, 2), "n_query": 3}
    return Protocol(**{**plain, **changes})


def pool_of(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return ClassPool("a", np.arange(len(groups)), groups, singles=False)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 12), st.integers(1, 12))
@example([2, 3], 3, 2)  # the smaller patient first would leave none for the query
def test_a_class_is_large_enough_exactly_where_some_parting_of_its_patients_is(sizes, shot, query):
    parts = [
        [sum(s for i, s in enumerate(sizes) if mask >> i & 1)] for mask in range(2 ** len(sizes))
    ]
    possible = any(shot <= part <= sum(sizes) - query for (part,) in parts)
    assert pool_of(sizes).feasible(shot, query) == possible


def test_the_pools_hold_each_labelled_row_once():
    source = table([1, 0, -1, 1, 0, 1], patients=[3, 3, 0, 0, 1, 2])
    pools, small = class_pools(source, protocol(n_shot=(1, 1), n_query=1))
    assert [(p.name, p.rows.tolist()) for p in pools] == [
        ("class 0", [1, 4]),
        ("class 1", [0, 3, 5]),
    ]
    assert not small
    assert pools[0].groups[0] == pools[1].groups[0]  # rows 0 and 1 are one patient
    assert not pools[0].singles


def test_where_nothing_is_linked_rows_are_their_own_groups():
    twins = table([0, 1, 0, 1], patients=[5, 5, 6, 7], pictures=[8, 9, 8, 4])
    few = {"n_shot": (1, 1), "n_query": 1}
    for source, disjoint, groups in (
        (table([0, 1, 0, 1]), True, [[0, 2], [1, 3]]),
        (table([0, 1, 0, 1], patients=[0] * 4), False, [[0, 2], [1, 3]]),
        (twins, True, [[0, 0], [0, 1]]),  # row 2 by its picture, row 1 by its patient
        (twins, False, [[1, 1], [2, 0]]),  # by picture alone, in the order of the hashes
    ):
        kept, small = class_pools(source, protocol(patient_disjoint=disjoint, **few))
        pools = sorted(kept + small, key=lambda pool: pool.name)
        assert [p.groups.tolist() for p in pools] == groups
        assert {p.singles for p in pools} == {groups == [[0, 2], [1, 3]]}


def test_classes_beyond_the_numbers_of_two_bytes_keep_their_rows():
    n = 2**15 + 5
    labels = np.concatenate([np.arange(n)[::-1], np.arange(n)])
    kept, small = class_pools(table(labels), protocol(n_shot=(1, 1), n_query=1))
    assert len(kept) == n
    assert not small
    for code in (0, 7, 2**15 - 1, 2**15, n - 1):
        assert kept[code].name == f"class {code}"
        assert kept[code].rows.tolist() == [n - 1 - code, n + code]


def test_a_class_with_too_few_images_is_named_with_its_counts():
    source = table([0] * 9 + [1] * 4)
    with pytest.raises(
        SamplingError, match=r"clinic: class 'class 1' has 4 images; .*2 support \+ 3 query = 5"
    ):
        TaskSampler([source], protocol())


def test_one_image_is_not_called_images():
    with pytest.raises(SamplingError, match="has 1 image;"):
        TaskSampler([table([0] * 9 + [1])], protocol())


def test_a_class_of_one_patient_is_named_with_its_patients():
    source = table([0] * 9 + [1] * 9, patients=[*range(9), *[20] * 9])
    with pytest.raises(SamplingError, match="class 'class 1' has 9 images of only 1 patient or"):
        TaskSampler([source], protocol())
    apart = TaskSampler([source], protocol(patient_disjoint=False))
    assert len(apart.draw(0).query_rows) == 6


def test_other_small_classes_are_counted():
    with pytest.raises(SamplingError, match="and 2 more such classes"):
        TaskSampler([table([0] * 9 + [1] * 3 + [2] * 2 + [3] * 4)], protocol())


def test_small_classes_are_left_out_where_asked_and_written_down():
    source = table([0] * 9 + [1] * 4 + [2] * 5)
    sampler = TaskSampler([source], protocol(drop_small_classes=True))
    assert sampler.dropped == {"clinic": {"class 1": 4}}
    drawn = {name for i in range(20) for name in sampler.draw(i).classes}
    assert drawn == {"class 0", "class 2"}


def test_nothing_left_is_an_error_even_where_small_classes_may_go():
    with pytest.raises(SamplingError, match="class 'class 1' has 2 images"):
        TaskSampler([table([0] * 4 + [1] * 2)], protocol(drop_small_classes=True))


def test_the_kind_of_source_and_protocol_must_agree():
    with pytest.raises(SamplingError, match="clinic has values, not classes"):
        TaskSampler([table(values=[1.0] * 9)], protocol())
    with pytest.raises(SamplingError, match="clinic has classes, not values"):
        TaskSampler([table([0] * 9)], protocol(kind="values"))


def test_too_few_values_name_the_source():
    with pytest.raises(SamplingError, match="clinic: the source has 4 images"):
        TaskSampler([table(values=[1.0] * 4)], protocol(kind="values"))
