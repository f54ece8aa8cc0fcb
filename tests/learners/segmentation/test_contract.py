"""Every learner of masks keeps the contract, with several structures."""

from __future__ import annotations

import pytest
import torch

from medmeta import InputSpec, Target, check_learner
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.learners import LEARNERS, build_learner, targets_of

SPEC = InputSpec(3, (16, 16))
TARGET = Target("masks", 3)
OF_MASKS = [name for name in LEARNERS if "masks" in targets_of(name)]
SMALL = {"encoder": {"options": {"width": 4, "levels": 1}}}
FEW_STEPS: dict[str, dict[str, object]] = {
    "fine_tuning": {"test_steps": 8, "rate": 0.05},
    "joint_unet": {"test_steps": 3, "conditioned_width": 4, "conditioned_levels": 2},
    "ridge_unet": {"test_steps": 3},
    "tuned_unet": {"test_steps": 6, "rate": 0.03},
    "pixel_forest": {"trees": 6, "pixels": 200},
}
ON_UNETS = {
    "fine_tuning", "joint_unet", "maml", "meta_sgd", "prototype_masks", "reptile", "ridge_unet",
    "tuned_unet",
}  # fmt: skip


@pytest.mark.parametrize("name", OF_MASKS)
def test_it_keeps_the_contract(name: str) -> None:
    torch.manual_seed(0)
    options = {**(SMALL if name in ON_UNETS else {}), **FEW_STEPS.get(name, {})}
    learner = build_learner(name, options, SPEC, TARGET)
    assert "beats_chance" in check_learner(learner, input_spec=SPEC, target=TARGET)


def test_ridge_on_a_network_is_trained_through() -> None:
    options = {"encoder": {"name": "unet", "options": {"width": 4, "levels": 1}}}
    learner = build_learner("pixel_ridge", options, SPEC, TARGET)
    assert learner.traits.trainable
    check_learner(learner, input_spec=SPEC, target=TARGET)


def test_all_that_was_asked_for_is_there() -> None:
    wanted = {
        "conditioned_unet", "fine_tuning", "joint_unet", "maml", "meta_sgd", "pixel_forest",
        "pixel_ridge", "prototype_masks", "reptile", "ridge_unet", "tuned_unet",
    }  # fmt: skip
    assert wanted <= set(OF_MASKS)


@pytest.mark.parametrize("name", ["pixel_ridge", "prototype_masks"])
def test_statistics_of_the_batch_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="norm=group"):
        build_learner(name, {"encoder": {"name": "unet", "norm": "batch"}}, SPEC, TARGET)


def test_an_encoder_of_whole_images_is_refused() -> None:
    with pytest.raises(UnsupportedTaskError, match="nothing of single pixels"):
        build_learner("prototype_masks", {"encoder": {"name": "conv4"}}, SPEC, TARGET)
