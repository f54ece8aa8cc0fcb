"""Learners of masks over one and three axes of space."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medmeta import InputSpec, Target, check_learner
from medmeta.check_tasks import TaskMaker
from medmeta.errors import UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from tests.learners.segmentation.test_contract import FEW_STEPS, OF_MASKS, ON_UNETS, SMALL

VOLUME, SIGNAL = InputSpec(1, (8, 8, 8)), InputSpec(2, (32,))
TARGET = Target("masks", 2)
CHECKED = {"conditioned_unet", "pixel_ridge", "prototype_masks", "maml"}  # the others take long


def built(name: str, spec: InputSpec) -> AbstractLearner:
    torch.manual_seed(0)
    options = {**(SMALL if name in ON_UNETS else {}), **FEW_STEPS.get(name, {})}
    if name == "conditioned_unet":
        options = {"width": 4, "levels": 2}
    if name == "prototype_masks":
        options = {**SMALL, "grid": 4}
    return build_learner(name, options, spec, TARGET)


@pytest.mark.parametrize("name", sorted(CHECKED & set(OF_MASKS)))
def test_it_keeps_the_contract_on_volumes(name: str) -> None:
    learner = built(name, VOLUME)
    assert learner.traits.input_kinds == {"volume"}
    assert "beats_chance" in check_learner(learner, input_spec=VOLUME, target=TARGET)


@pytest.mark.parametrize("spec", [SIGNAL, VOLUME], ids=lambda spec: spec.kind)
@pytest.mark.parametrize("name", OF_MASKS)
def test_every_learner_of_masks_answers_each_place(name: str, spec: InputSpec) -> None:
    learner = built(name, spec).eval()
    episode = TaskMaker(spec, TARGET).episode(2, n_shot=1, n_query=2, seed=1)
    with torch.no_grad():
        answers = learner.adapt(episode.support, TARGET)(episode.query.inputs)
    assert answers.shape == (2, 2, 2, *spec.size)
    assert torch.isfinite(answers).all()
    loss = learner.loss(episode)
    assert loss.shape == (2,)


def test_a_learner_of_pictures_refuses_volumes_in_words() -> None:
    learner = built("conditioned_unet", InputSpec(1, (16, 16)))
    episode = TaskMaker(VOLUME, TARGET).episode(1, n_shot=1, n_query=1, seed=1)
    with pytest.raises(UnsupportedTaskError, match="takes inputs of kind image, not volume"):
        learner.adapt(episode.support, TARGET)


def test_masks_of_slices_on_volumes_are_refused_in_words() -> None:
    learner = built("pixel_ridge", VOLUME)
    episode = TaskMaker(VOLUME, TARGET).episode(1, n_shot=1, n_query=1, seed=1)
    flat = replace(episode.support, labels=episode.support.labels[:, :, 0])
    with pytest.raises(UnsupportedTaskError, match=r"masks of \(8, 8\) on inputs of \(8, 8, 8\)"):
        learner.adapt(flat, TARGET)


def test_a_learner_of_whole_volumes_refuses_masks_in_words() -> None:
    with pytest.raises(UnsupportedTaskError, match="not masks"):
        build_learner("prototypical", None, VOLUME, TARGET)


def test_weights_of_pictures_have_the_names_and_shapes_they_had() -> None:
    """Saved models of pictures load: their layers are those that they were saved from."""
    learner = build_learner(
        "conditioned_unet", {"width": 4, "levels": 2}, InputSpec(3, (16, 16)), TARGET
    )
    shapes = {name: tuple(weight.shape) for name, weight in learner.state_dict().items()}
    assert shapes["query_stem.weight"] == (4, 4, 4, 4)
    assert shapes["down.0.query.weight"] == (4, 4, 3, 3)
    assert shapes["hidden"] == (48, 2 * 3 + 18 + 5 + 1)
    unet = build_learner("maml", SMALL, InputSpec(3, (16, 16)), TARGET).state_dict()
    assert tuple(unet["network.0.encoder.down.0.0.weight"].shape) == (4, 3, 3, 3)
    assert tuple(unet["network.1.weight"].shape) == (2, 4, 1, 1)


def test_part_of_a_volume_may_be_labelled() -> None:
    """A half is enough where a structure is told by its colour."""
    learner = built("pixel_ridge", VOLUME)
    episode = TaskMaker(VOLUME, TARGET).episode(1, n_shot=1, n_query=1, seed=2)
    labels = episode.support.labels.clone()
    labels[..., 4:] = -1
    part = replace(episode.support, labels=labels)
    answers = learner.adapt(part, TARGET)(episode.query.inputs)
    assert (answers.argmax(2) == episode.query.labels).float().mean() > 0.7
