"""What a training takes over from its learner and its command where nobody says otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from medmeta.app.commands.pretrain import _defaults
from medmeta.app.commands.run_options import asked, request_from
from medmeta.app.commands.train import _learner_defaults
from medmeta.app.pretrain_run import PretrainRequest
from medmeta.app.train_run import TrainRequest
from medmeta.errors import SettingsError
from medmeta.training.settings import TrainingSettings


def trained(**given: Any) -> TrainRequest:
    return request_from(TrainRequest, given, None, where="w", defaults=_learner_defaults)


def test_each_learner_s_own_training() -> None:
    reptile = trained(learner="reptile").training
    assert (reptile.optimiser, reptile.learning_rate, reptile.clip_norm) == ("sgd", 1.0, 0.0)
    plain = trained().training
    assert (plain.optimiser, plain.learning_rate, plain.clip_norm) == ("adam", 0.001, 10.0)


def test_flags_stand_over_the_learner_s() -> None:
    asked_for = trained(learner="reptile", clip_norm=3.0, momentum=0.5, schedule="linear").training
    assert (asked_for.clip_norm, asked_for.momentum) == (3.0, 0.5)
    assert asked_for.schedule == "linear"
    assert asked_for.learning_rate == 1.0


@pytest.mark.parametrize(("given", "augment"), [({}, "light"), ({"augment": "none"}, "none")])
def test_pre_training_varies_its_images(given: dict[str, str], augment: str) -> None:
    request = request_from(PretrainRequest, given, None, where="w", defaults=_defaults)
    assert request.training.augment == augment


def test_the_command_and_the_flag_are_named() -> None:
    with pytest.raises(SettingsError, match=r"^medmeta pretrain: --learning-rate: "):
        request_from(
            PretrainRequest, {"learning_rate": -1.0}, None, where="medmeta pretrain",
            defaults=_defaults,
        )  # fmt: skip


def test_flags_of_the_run_itself_are_named_too() -> None:
    with pytest.raises(SettingsError, match=r"^w: --query: .*; --tasks-per-step: "):
        trained(query=0, tasks_per_step=0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"momentum": 0.5}, "--momentum: .*sgd; adam has"),
        ({"optimiser": "adamw", "momentum": 0.5}, "--momentum: .*sgd; adamw has"),
        ({"halve_every": 50}, "--halve-every: .*not of constant"),
        ({"patience": 2, "validate_every": 0}, "--patience: .*validate_every is 0"),
        ({"patience": 2, "validation": "none"}, "--validation: none leaves --patience 2"),
    ],
)
def test_flags_that_would_change_nothing_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=f"^w: {says}"):
        trained(**given)


def test_such_flags_where_they_do_something() -> None:
    trained(optimiser="sgd", momentum=0.5, patience=2)
    asked_for = trained(schedule="halving", halve_every=50).training
    assert TrainingSettings(**asked_for.model_dump()) == asked_for  # as a card keeps them


def test_flags_that_were_not_given_are_left_out() -> None:
    flags = {"steps": 3, "seed": 0, "way": None, "skip_bad": False, "out": "x", "resume": True}
    assert asked(flags) == {"steps": 3, "seed": 0}
