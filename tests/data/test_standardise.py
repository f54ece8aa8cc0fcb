"""Grey levels of sites brought to one range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.data.standardise import Levels, left_as_they_are, standardised
from medmeta.errors import DataError

SITES = ["north"] * 20 + ["south"] * 20 + [None] * 5


def two_sites() -> Source:
    """South is north's pictures at half the gain and 100 brighter; five of nobody's site."""
    chance = np.random.default_rng(0)
    north = chance.integers(0, 201, (20, 1, 32, 32), dtype=np.uint8)
    south = (north // 2 + 100).astype(np.uint8)
    pixels = np.concatenate([north, south, north[:5]])
    source = Source.from_arrays("clinic", pixels, ["a", "b"] * 22 + ["a"])
    return replace(source, index=replace(source.index, sites=Column.from_texts(SITES)))


def test_the_percentiles_of_every_site_become_those_of_the_reference() -> None:
    source = two_sites()
    (done,), levels = standardised([source], "site")
    rows = np.arange(45)
    before, after = source.gather(rows), done.gather(rows)
    expected = np.mean([np.quantile(before[part], (0.02, 0.98), method="inverted_cdf")
                        for part in (slice(0, 20), slice(20, 40))], axis=0)  # fmt: skip
    np.testing.assert_allclose(levels.reference, expected)
    for part in (slice(0, 20), slice(20, 40)):
        found = np.quantile(after[part], (0.02, 0.98), method="inverted_cdf")
        np.testing.assert_allclose(found, expected, atol=1)
    difference = after[:20].astype(int) - after[20:40]
    assert np.abs(difference).max() <= 2  # the two sites' pictures are the same again
    np.testing.assert_array_equal(after[40:], before[40:])
    assert left_as_they_are(source, "site") == 5


def test_parts_of_a_standardised_source_stay_so_and_pictures_keep_their_hash() -> None:
    source = two_sites()
    (done,), _ = standardised([source], "site")
    rows = np.array([25, 3, 41])
    np.testing.assert_array_equal(done.take(rows).gather(np.arange(3)), done.gather(rows))
    part = done.with_classes(["b"])
    np.testing.assert_array_equal(part.gather(np.arange(22)), done.gather(np.arange(1, 44, 2)))
    np.testing.assert_array_equal(done.hashes, source.hashes)


def test_an_earlier_reference_is_kept_to() -> None:
    (done,), levels = standardised([two_sites()], "site", reference=(10.0, 50.0))
    assert levels.reference == (10.0, 50.0)
    found = np.quantile(done.gather(np.arange(20)), (0.02, 0.98), method="inverted_cdf")
    np.testing.assert_allclose(found, (10, 50), atol=1)


def test_a_table_is_the_straight_line_between_the_ranges() -> None:
    levels = Levels("site", (0.0, 200.0), {"north": (50.0, 100.0)})
    table = levels.table("north")
    assert (table[50], table[75], table[100]) == (0, 100, 200)
    assert (table[0], table[255]) == (0, 255)
    assert Levels.from_dict(levels.to_dict()) == levels


def test_what_cannot_be_brought_together_is_refused_by_name() -> None:
    source = two_sites()
    with pytest.raises(DataError, match="no image has an entry in the column device"):
        standardised([source], "device")
    flat = Source.from_arrays("flat", np.full((4, 1, 8, 8), 7, np.uint8), list("abab"))
    flat = replace(flat, index=replace(flat.index, sites=Column.from_texts(["n"] * 4)))
    with pytest.raises(DataError, match="all images of n are of one grey level"):
        standardised([flat], "site")
    (done,), _ = standardised([source], "site")
    with pytest.raises(DataError, match="brought together already"):
        standardised([done], "site")
