"""Shift by group and by quality: differences that are known beforehand come out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medmeta.data.distortions import distortions_of
from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.episode import InputSpec, Target
from medmeta.episodes.protocol import Protocol
from medmeta.errors import SamplingError
from medmeta.evaluation.evaluate import evaluate
from medmeta.evaluation.shift import evaluate_groups, evaluate_quality
from medmeta.learners import build_learner

SIDE = 16
N = 240
LABELS = np.arange(N) % 2
SITE = (np.arange(N) // 2) % 3


def hospital(*, mirrored: bool) -> Source:
    """Two classes told by where it is bright; at site 2 the other way round, if ``mirrored``."""
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 60, (N, 1, SIDE, SIDE), dtype=np.uint8)
    side = LABELS ^ ((SITE == 2) if mirrored else 0)
    for number in range(N):
        half = slice(None, SIDE // 2) if side[number] else slice(SIDE // 2, None)
        pixels[number, 0, :, half] += 120
    source = Source.from_arrays("clinic", pixels, [f"class {c}" for c in LABELS])
    sites = Column.from_texts([None if i % 40 == 39 else f"site {SITE[i]}" for i in range(N)])
    return replace(source, index=replace(source.index, sites=sites))


def protocol(**changes: object) -> Protocol:
    plain = {"n_way": (2, 2), "n_shot": (2, 2), "n_query": 5, "episodes": 20, "tasks_per_batch": 4}
    return Protocol(sources=("clinic",), **{**plain, **changes})  # type: ignore[arg-type]


def ridge(encoder: str = "pixels"):  # type: ignore[no-untyped-def]
    spec = InputSpec(1, (SIDE, SIDE))
    return build_learner("ridge", {"encoder": {"name": encoder}}, spec, Target("classes", 2))


def test_a_site_where_labels_mean_the_opposite_is_answered_wrongly_from_outside() -> None:
    found = evaluate_groups(ridge(), hospital(mirrored=True), protocol(), "site")
    assert [g.name for g in found.groups] == ["site 0", "site 1", "site 2"]
    for group in found.groups:
        assert group.inside.summary["accuracy"].mean == 1.0
        assert group.inside.protocol.shift == f"site {group.name}, support from inside"
    odd = found.groups[2]
    assert odd.outside.summary["accuracy"].mean == 0.0
    assert (odd.difference.mean, odd.difference.low, odd.difference.high) == (-1.0, -1.0, -1.0)
    assert found.unknown == 6
    expected = np.mean([g.difference.mean for g in found.groups])
    assert found.difference.mean == pytest.approx(expected)
    assert found.difference.tasks == 60


def test_where_sites_do_not_differ_the_difference_is_nil() -> None:
    found = evaluate_groups(ridge(), hospital(mirrored=False), protocol(), "site")
    assert found.difference.mean == 0.0
    assert dict(found.left_out) == {}


def test_inside_is_as_an_evaluation_on_the_sites_images_alone() -> None:
    source = hospital(mirrored=True)
    inside = evaluate_groups(ridge(), source, protocol(), "site").groups[2].inside
    rows = np.flatnonzero(source.index.sites.codes == 2)
    alone = evaluate(ridge(), source.take(rows), protocol())
    for name, column in alone.records.items():
        np.testing.assert_allclose(inside.records[name], column, rtol=1e-5, err_msg=name)


def test_groups_too_small_are_named_with_the_reason() -> None:
    source = hospital(mirrored=False)
    texts = source.index.sites.texts()
    texts[:4] = ["tiny"] * 4
    sites = Column.from_texts(texts)
    found = evaluate_groups(
        ridge(), replace(source, index=replace(source.index, sites=sites)), protocol(), "site"
    )
    assert set(found.left_out) == {"tiny"}
    assert "a task needs 2 support + 5 query = 7" in found.left_out["tiny"]
    with pytest.raises(SamplingError, match="no group of the column device can be left out"):
        evaluate_groups(ridge(), source, protocol(), "device")
    one = Column.from_texts(["only"] * N)
    with pytest.raises(SamplingError, match="only: 0 of its classes surely have 2 labelled"):
        evaluate_groups(
            ridge(), replace(source, index=replace(source.index, sites=one)), protocol(), "site"
        )


def test_a_worse_query_is_the_same_task_and_clean_is_the_plain_evaluation() -> None:
    source = hospital(mirrored=False)
    faults = distortions_of("unknown")
    found = evaluate_quality(ridge(), source, protocol(episodes=8), faults)
    plain = evaluate(ridge(), source, protocol(episodes=8))
    np.testing.assert_allclose(found.clean.records["accuracy"], plain.records["accuracy"])
    np.testing.assert_allclose(found.clean.records["log_loss"], plain.records["log_loss"], 1e-5)
    named = [(w.distortion, w.severity) for w in found.worsened]
    assert named == [(f.name, s) for f in faults for s in range(1, 6)]
    by_name = {(w.distortion, w.severity): w for w in found.worsened}
    worst = by_name["contrast", 5]
    assert worst.level == 0.2
    gaps = worst.worse.records["log_loss"] - found.clean.records["log_loss"]
    assert gaps.mean() > 0  # a fifth of the contrast makes a linear answer less sure
    assert worst.difference.tasks == 8


def test_a_learner_without_a_head_is_measured_too() -> None:
    spec = InputSpec(1, (SIDE, SIDE))
    options = {"encoder": {"name": "conv4", "options": {"width": 4}}, "inner_steps": 1}
    maml = build_learner("maml", options, spec, Target("classes", 2))
    asked = protocol(episodes=4)
    found = evaluate_quality(maml, hospital(mirrored=False), asked, distortions_of("CT")[:1])
    assert len(found.worsened) == 5
    assert len(evaluate_groups(maml, hospital(mirrored=False), asked, "site").groups) == 3
