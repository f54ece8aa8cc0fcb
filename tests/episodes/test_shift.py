"""Tasks across groups: the same queries, with support from their own group or from all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.shift import AcrossGroups, groups_left_out, known_columns
from medmeta.errors import SamplingError

PROTOCOL = Protocol(sources=("made",), n_way=(2, 2), n_shot=(2, 2), n_query=3, episodes=50)


def source(sites: list[str | None], labels: list[str], patients: list[str | None]) -> Source:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (len(labels), 1, 4, 4), dtype=np.uint8)
    made = Source.from_arrays("made", pixels, labels, patients=patients)
    return replace(made, index=replace(made.index, sites=Column.from_texts(sites)))


def three_sites() -> Source:
    """Sites a and b of 12 images a class, c of 4; patients of two images, some at two sites."""
    sites, labels, patients = [], [], []
    for site, n in (("a", 12), ("b", 12), ("c", 4)):
        for label in ("ill", "well"):
            for i in range(n):
                sites.append(site)
                labels.append(label)
                patients.append(f"{'shared' if i < 2 else site}-{label}-{i // 2}")
    return source(sites, labels, patients)


def test_groups_too_small_are_named() -> None:
    groups, refused = groups_left_out(three_sites(), "site", PROTOCOL)
    assert [group.name for group in groups] == ["a", "b"]
    assert list(refused) == ["c"]
    assert "2 are needed" in refused["c"]


@pytest.mark.parametrize("outside", [False, True])
def test_where_support_and_queries_come_from(outside: bool) -> None:
    made = three_sites()
    sites = made.index.sites.texts()
    labels = made.index.labels
    assert labels is not None
    for group in groups_left_out(made, "site", PROTOCOL)[0]:
        sampler = AcrossGroups(made, group, PROTOCOL, outside=outside)
        for task in range(50):
            drawn = sampler.draw(task)
            assert {sites[row] for row in drawn.query_rows} == {group.name}
            assert all((sites[row] == group.name) != outside for row in drawn.support_rows)
            for rows, wanted in (
                (drawn.support_rows, drawn.support_labels),
                (drawn.query_rows, drawn.query_labels),
            ):
                found = [labels.names[labels.codes[row]] for row in rows]
                assert found == [drawn.classes[number] for number in wanted]
            groups = made.groups
            assert not set(groups[drawn.support_rows]) & set(groups[drawn.query_rows])


def test_the_same_queries_are_asked_at_home_and_away() -> None:
    made = three_sites()
    (group, _), _ = groups_left_out(made, "site", PROTOCOL)
    home = AcrossGroups(made, group, PROTOCOL, outside=False)
    away = AcrossGroups(made, group, PROTOCOL, outside=True)
    for task in range(20):
        one, other = home.draw(task), away.draw(task)
        assert one.query_rows.tolist() == other.query_rows.tolist()
        assert one.classes == other.classes
        again = away.draw(task)
        assert again.support_rows.tolist() == other.support_rows.tolist()


def test_what_cannot_be_grouped_by_is_refused_with_what_can() -> None:
    made = three_sites()
    assert known_columns(made) == ["site"]
    with pytest.raises(SamplingError, match=r"nothing is known of device; .*: site"):
        groups_left_out(made, "device", PROTOCOL)
    hard = PROTOCOL.model_copy(update={"n_query": 300})
    with pytest.raises(SamplingError, match="no site can be left out"):
        groups_left_out(made, "site", hard)
