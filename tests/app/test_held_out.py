"""What is kept from training to choose the best weights by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medmeta.app.held_out import hold_out, validator
from medmeta.data.source import Source
from medmeta.episode import LabelledSet, Predictor, Target, any_tensor
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.learner import AbstractLearner, Traits


def source(counts: dict[str, int], *, patients: int = 0) -> Source:
    """Random pictures, so many of each class; several of a patient where ``patients`` says."""
    labels = [name for name, n in counts.items() for _ in range(n)]
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 16, 16), dtype=np.uint8)
    known = [str(i % patients) for i in range(len(labels))] if patients else None
    return Source.from_arrays("made", pixels, labels, patients=known)


def protocol(**changes: object) -> Protocol:
    values = {"sources": ("made",), "n_way": (2, 3), "n_shot": (1, 1), "n_query": 3, "seed": 4}
    return Protocol.model_validate(values | changes)


def names(parts: tuple[Source, ...]) -> set[str]:
    return {name for part in parts for name in part.index.class_names}


def test_a_fifth_of_the_classes_where_there_are_enough() -> None:
    held = hold_out([source(dict.fromkeys("abcdefghij", 6))], protocol(), "auto")
    assert held.how == "classes"
    assert len(names(held.validation)) == 2
    assert len(names(held.training)) == 8
    assert names(held.training).isdisjoint(names(held.validation))
    assert "2 classes of 1 source." in held.notes[0]


def test_images_of_other_patients_where_classes_are_few() -> None:
    given = source({"a": 50, "b": 50}, patients=25)
    held = hold_out([given], protocol(n_way=(2, 2)), "auto")
    assert held.how == "images"
    (kept,), (out,) = held.training, held.validation
    assert len(kept) + len(out) == 100
    assert len(out) == 20
    assert set(kept.index.patients.texts()).isdisjoint(out.index.patients.texts())


def test_nothing_where_there_is_too_little() -> None:
    given = source({"a": 5, "b": 5})
    held = hold_out([given], protocol(n_way=(2, 2)), "auto")
    assert held.how == "none"
    assert held.training == (given,)
    assert hold_out([given], protocol(), "none").validation == ()


def test_no_picture_of_a_held_out_class_is_trained_on() -> None:
    given = source(dict.fromkeys("abcdefgh", 8))
    pixels = given.pixels.copy()
    pixels[8:64:8] = pixels[0]  # one picture in all classes
    labels = [text for text in given.index.labels.texts() if text] if given.index.labels else []
    held = hold_out([Source.from_arrays("made", pixels, labels)], protocol(), "classes")
    trained = np.concatenate([part.hashes for part in held.training])
    validated = np.concatenate([part.hashes for part in held.validation])
    assert len(np.intersect1d(trained, validated)) == 0


@pytest.mark.parametrize("counts", [(100, 100, 100, 20, 20), (200, 100, 30, 30, 30)])
def test_validation_tasks_can_be_drawn_where_held_out_classes_are_small(
    counts: tuple[int, ...],
) -> None:
    """Of five classes, some have too few images held out to be asked about."""
    asked = protocol(n_way=(5, 5), n_shot=(5, 5), n_query=10)
    given = source(dict(zip("abcde", counts, strict=True)))
    held = hold_out([given], asked, "auto")
    assert held.how == "images"
    (part,) = held.validation
    sampler = TaskSampler([part], held.protocol(part, asked, 60))
    assert len(sampler.draw(0).classes) == sum(n // 5 >= 15 for n in counts)


def test_a_source_without_a_score_says_nothing_of_the_others() -> None:
    class Constant(AbstractLearner):
        traits = Traits(targets=frozenset({"values"}))

        def adapt(self, support: LabelledSet, target: Target) -> Predictor:
            return lambda inputs: torch.zeros(*any_tensor(inputs).shape[:2], 1)

    pixels = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
    told = (np.linspace(-1, 1, 60, dtype=np.float32), np.full(60, 3, np.float32))
    good, alike = (
        Source.from_arrays(name, pixels + k, values=values)
        for k, (name, values) in enumerate(zip(("good", "alike"), told, strict=True))
    )
    scores = []
    for given in ([good], [good, alike], [alike]):
        asked = protocol(sources=tuple(s.name for s in given), kind="values", n_way=(1, 1))
        validate = validator(hold_out(given, asked, "images"), asked, "cpu")
        assert validate
        scores.append(validate(Constant()))
    assert scores[0] == scores[1] == scores[1]
    assert scores[0] <= 0
    assert np.isnan(scores[2])


def named(pixels: NDArray[np.uint8], name: str, labels: list[str]) -> Source:
    """Pictures under another name and other labels."""
    return Source.from_arrays(name, pixels, labels)


@pytest.mark.parametrize(("way", "how"), [(3, "classes"), (10, "images")])
def test_what_is_held_out_of_one_source_is_not_trained_on_in_another(way: int, how: str) -> None:
    first = source(dict.fromkeys("abcdefghij", 12))
    order = np.random.default_rng(1).permutation(120)
    second = named(first.pixels[order], "again", ["abcdefghij"[k // 12] for k in order])
    few = named(first.pixels, "by sex", ["m", "f"] * 60)
    given = [first, second, *([few] if way == 3 else [])]
    asked = protocol(sources=tuple(s.name for s in given), n_way=(2, way), n_query=1)
    held = hold_out(given, asked, "auto")
    assert held.how == how
    validated = np.concatenate([part.hashes for part in held.validation])
    for part in held.training:
        assert not np.isin(part.hashes, validated).any()
        assert len(part) >= 60
    TaskSampler(held.training, asked)
    assert any("held out of another source" in note for note in held.notes)


def test_a_source_that_needs_what_is_held_out_is_named_in_a_warning() -> None:
    first = source(dict.fromkeys("abcdefghij", 6))
    asked = protocol(sources=("made", "needs"), n_way=(2, 2), n_shot=(2, 2), n_query=4)
    (out,) = hold_out([first], asked, "auto").validation
    needs = named(out.pixels[out.pixel_rows], "needs", ["x", "y"] * 6)
    held = hold_out([first, needs], asked, "auto")
    assert [part.name for part in held.training if len(part) == 12] == ["needs"]
    assert "warning: 12 pictures that are held out" in " ".join(held.notes)


@pytest.mark.parametrize(("spanning", "shot", "how"), [(40, 2, "images"), (30, 5, "none")])
def test_classes_are_not_held_out_where_that_leaves_too_little(
    spanning: int, shot: int, how: str
) -> None:
    """Slices of organs, say: patients of one class have images of many others."""
    labels = [f"organ {k}" for k in range(10) for _ in range(40)]
    patients = [f"{i}" if i < spanning else f"{k} {i}" for k in range(10) for i in range(40)]
    pixels = np.random.default_rng(0).integers(0, 256, (400, 1, 8, 8), dtype=np.uint8)
    given = Source.from_arrays("made", pixels, labels, patients=patients)
    asked = protocol(n_way=(5, 5), n_shot=(shot, shot), n_query=2 * shot)
    held = hold_out([given], asked, "auto")
    assert held.how == how
    TaskSampler(held.training, asked)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_left_has_enough_classes_at_the_most_shots(seed: int) -> None:
    counts = {f"c{k}": 40 if k < 6 else 15 for k in range(10)}
    asked = protocol(n_way=(5, 5), n_shot=(1, 20), n_query=10, drop_small_classes=True, seed=seed)
    TaskSampler(hold_out([source(counts)], asked, "auto").training, asked)
