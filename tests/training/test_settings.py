import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmeta.errors import SettingsError
from medmeta.settings import validated
from medmeta.training.settings import Schedule, TrainingSettings


@given(st.integers(0, 999))
def test_the_cosine_falls_from_the_rate_to_zero(step):
    settings = TrainingSettings(steps=1000, schedule="cosine", learning_rate=0.1)
    wanted = 0.1 * math.cos(math.pi * step / 2000) ** 2  # (1 + cos 2x) / 2 = cos² x
    assert settings.rate_at(step) == pytest.approx(wanted, rel=1e-9)
    assert settings.rate_at(step + 1) < settings.rate_at(step) or step == 0


def test_the_cosine_at_its_ends():
    settings = TrainingSettings(steps=10, schedule="cosine", learning_rate=0.1)
    assert settings.rate_at(0) == 0.1
    assert settings.rate_at(5) == 0.05
    assert settings.rate_at(10) == 0


def test_the_straight_line_from_the_rate_to_zero():
    settings = TrainingSettings(steps=8, schedule="linear", learning_rate=0.4)
    rates = [settings.rate_at(step) for step in range(9)]
    assert rates == [0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.0]


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_it_is_said_which_schedules_look_at_the_last_step(schedule):
    own = {"halve_every": 2} if schedule == "halving" else {}
    short, long = (
        TrainingSettings(steps=n, schedule=schedule, learning_rate=0.3, **own) for n in (8, 9)
    )
    differ = [short.rate_at(step) for step in range(8)] != [long.rate_at(s) for s in range(8)]
    assert short.rates_depend_on_the_end == differ


def test_halving_and_constant():
    halving = TrainingSettings(schedule="halving", halve_every=100, learning_rate=0.8)
    rates = [halving.rate_at(step) for step in (0, 99, 100, 199, 200, 350)]
    assert rates == [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]
    constant = TrainingSettings(learning_rate=0.3)
    assert {constant.rate_at(step) for step in (0, 1, 999, 10**9)} == {0.3}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("learning_rate", 0),
        ("learning_rate", "nan"),
        ("learning_rate", "inf"),
        ("weight_decay", -1),
        ("momentum", 1),
        ("schedule", "square"),
        ("halve_every", 0),
        ("clip_norm", -1),
        ("precision", "float16"),
        ("validate_every", -1),
        ("patience", -1),
        ("checkpoint_every", 0),
        ("log_every", 0),
        ("seed", -1),
        ("optimiser", "lbfgs"),
        ("learning_rates", 1),
    ],
)
def test_bad_values_are_refused_by_the_name_of_their_field(field, value):
    with pytest.raises(SettingsError, match=rf"^training: .*\b{field}\b"):
        validated(TrainingSettings, {field: value}, where="training")
