"""Groups are what following every link by hand gives, numbered by their first rows."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from medmeta.data.groups import linked_groups, repeated_rows

ROWS = st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 20)), max_size=40)


def by_hand(rows):
    """Each row's first linked row, by joining sets until nothing changes."""
    sets = [{i} for i in range(len(rows))]
    for i, (patient, picture) in enumerate(rows):
        for j, (other, same) in enumerate(rows[:i]):
            if picture == same or patient == other >= 0:
                joined = sets[i] | sets[j]
                for row in joined:
                    sets[row] = joined
    return [min(s) for s in sets]


@given(ROWS)
@example([])
@example([(0, 1), (1, 2), (0, 2)])  # the last ties the first two patients
@example([(3, 1), (-1, 1), (-1, 2), (3, 2)])
def test_groups_are_those_linked_by_hand_in_the_order_of_their_first_rows(rows):
    patients = np.array([r[0] for r in rows], np.int32)
    hashes = np.array([r[1] for r in rows], np.uint64)
    firsts = by_hand(rows)
    number = {first: i for i, first in enumerate(sorted(set(firsts)))}
    groups = linked_groups(patients, hashes)
    assert groups.dtype == np.int64
    assert groups.tolist() == [number[first] for first in firsts]


@given(st.lists(st.integers(0, 30)))
def test_repeated_rows_are_those_with_a_twin(pictures):
    wanted = [i for i, picture in enumerate(pictures) if pictures.count(picture) > 1]
    assert repeated_rows(np.array(pictures, np.uint64)).tolist() == wanted


def test_large_hashes_are_told_apart():
    hashes = np.array([2**64 - 1, 2**64 - 2, 2**63, 2**64 - 1], np.uint64)
    assert repeated_rows(hashes).tolist() == [0, 3]
