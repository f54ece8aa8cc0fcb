"""The whole pass: what it says of good support sets, and of such as nothing can be said of."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.errors import CheckpointError, UnsupportedTaskError
from medmeta.trust.assess import About, assess
from medmeta.trust.prior import TrustPrior
from medmeta.trust.results import Trust, trust_from_dict
from medmeta.trust.source_tasks import learn_prior
from tests.trust.gaussian_tasks import Plain, adapted, clouds

NAMES = ("a", "b", "c")


def found_of(per_class: int = 5, *, groups: np.ndarray | None = None) -> Trust:
    points, labels = clouds(np.random.default_rng(1), per_class, way=3, apart=4.0, size=8)
    alone = np.arange(len(labels)) if groups is None else groups
    return assess(adapted(points, labels), About(NAMES, alone), repeats=3)


def test_all_is_said_and_kept_as_json() -> None:
    trust = found_of()
    assert trust.estimate.images == 15
    assert (trust.estimate.figures["accuracy"].value or 0) > 0.7
    assert trust.calibration is not None
    assert trust.sets is not None
    assert len(trust.sets.folds) == 15
    assert trust.novelty is not None
    assert trust.shortcuts is not None
    assert trust.decisions is not None
    curve = [(p.per_class, p.measured) for p in trust.decisions.labels]
    assert curve == [(1, True), (2, True), (15, False), (25, False), (45, False)]
    assert any("Patients are not known" in note for note in trust.notes)
    kept = json.loads(json.dumps(trust.to_dict(), allow_nan=False))
    assert trust_from_dict(kept, where="card") == trust
    kept["estimate"]["images"] = "many"
    with pytest.raises(CheckpointError, match=r"card.*estimate\.images"):
        trust_from_dict(kept, where="card")


def test_its_figures_are_of_the_answers_that_are_given() -> None:
    """Of few images of a rare class the calibrated answer is another than the plain one."""
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], [40, 10])
    points, side = random.standard_normal((50, 64)), np.tile(["left", "right"], 25)
    about = About(("common", "rare"), np.arange(50), columns={"side": side.tolist()})
    trust = assess(adapted(points, labels), about, repeats=3)
    assert trust.decisions is not None
    rows = trust.decisions.subgroups
    told = sum((row.accuracy.value or 0) * row.images for row in rows) / 50
    assert told == pytest.approx(trust.estimate.cross_validated, abs=1e-12)
    common, rare = (row.sensitivity.value or 0 for row in trust.estimate.by_class)
    assert common > rare + 0.3  # plain answers of noise: alike
    assert (40 * common + 10 * rare) / 50 == pytest.approx(told, abs=1e-12)


def test_the_same_every_time() -> None:
    assert replace(found_of(), seconds=0) == replace(found_of(), seconds=0)


def test_one_image_per_class_gives_no_number() -> None:
    trust = found_of(1)
    assert trust.estimate.figures == {}
    assert "with one image of a class" in trust.estimate.reason
    assert trust.estimate.needed > 15
    assert trust.calibration is None
    assert trust.sets is None


def test_one_patient_in_all_classes_gives_no_number() -> None:
    trust = found_of(groups=np.zeros(15, np.int64))
    assert trust.estimate.figures == {}
    assert "one patient" in trust.estimate.reason


def test_patients_who_cannot_be_parted_give_no_number() -> None:
    trust = found_of(groups=np.repeat(np.arange(3), 5))
    assert "with one patient of a class" in trust.estimate.reason


def test_identical_images_give_no_number() -> None:
    pixels = np.full((12, 1, 8, 8), 90, np.uint8)
    source = Source.from_arrays("flat", pixels, ["a", "b", "c"] * 4)
    labels = np.arange(12) % 3
    trust = assess(adapted(np.zeros((12, 64)), labels), About(NAMES, source.groups))
    assert trust.estimate.figures == {}
    assert "one picture" in trust.estimate.reason


def test_answers_that_are_no_numbers_give_no_number() -> None:
    points, labels = clouds(np.random.default_rng(1), 5, way=3, size=8)
    task = adapted(points, labels, scale=float("nan"))
    trust = assess(task, About(NAMES, np.arange(15)))
    assert trust.estimate.figures == {}
    assert "no numbers" in trust.estimate.reason


def test_values_are_refused() -> None:
    points, labels = clouds(np.random.default_rng(1), 5, way=3)
    task = replace(adapted(points, labels), target=Target("values", 1))
    with pytest.raises(UnsupportedTaskError, match="--no-estimate"):
        assess(task, About(NAMES, np.arange(15)))


def test_a_learner_without_a_head_is_held_out_as_a_whole() -> None:
    points, labels = clouds(np.random.default_rng(1), 5, way=3, apart=4.0, size=8)
    task = adapted(points, labels)
    whole = replace(task, support_embeddings=None, head_predictor=None)
    with_head = assess(task, About(NAMES, np.arange(15)), repeats=2)
    without = assess(whole, About(NAMES, np.arange(15)), repeats=2)
    one, two = (t.estimate.cross_validated for t in (with_head, without))
    assert one == pytest.approx(two)


def test_the_prior_of_sources_is_learned() -> None:
    random = np.random.default_rng(3)
    points, labels = clouds(random, 40, way=3, apart=3.0, size=4)
    pixels = np.clip(128 + 30 * points, 0, 255).astype(np.uint8).reshape(-1, 1, 4, 4)
    source = Source.from_arrays("clouds", pixels, [NAMES[k] for k in labels])
    prior = learn_prior(Plain(), [source], tasks=20)
    assert prior is not None
    assert (prior.tasks, prior.sources) == (20, 1)
    assert 0 <= prior.exponent <= 1
    assert 0.4 <= prior.precision <= 1
    assert TrustPrior.from_dict(prior.to_dict(), where="run") == prior
    with pytest.raises(CheckpointError, match="run"):
        TrustPrior.from_dict({"exponent": "steep"}, where="run")
    assert learn_prior(Plain(), [source.take(np.arange(4))]) is None
    torch.manual_seed(0)
