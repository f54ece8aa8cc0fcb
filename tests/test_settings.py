"""Options from texts, and configurations that refuse what they do not know."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, ValidationError, field_validator

from medmeta.errors import SettingsError
from medmeta.settings import Settings, options_from_texts, validated


class Inner(Settings):
    width: int = Field(64, ge=1)
    name: str = "conv4"


class Outer(Settings):
    inner_rate: float = 0.4
    inner_steps: int = 1
    encoder: Inner = Inner()


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        ([], {}),
        (["a=1", "b.c=x"], {"a": "1", "b": {"c": "x"}}),
        (["a.b=1", "a.c=2", "a.d.e=3"], {"a": {"b": "1", "c": "2", "d": {"e": "3"}}}),
        ([" a = 1 "], {"a": "1"}),
        (["a=x=y"], {"a": "x=y"}),
        (["a="], {"a": ""}),
        (["a=1", "a=2"], {"a": "2"}),
    ],
)
def test_texts_become_nested_options(texts: list[str], options: dict[str, Any]) -> None:
    assert options_from_texts(texts) == options


@pytest.mark.parametrize("text", ["inner_rate", "=1", " =1", ""])
def test_a_text_without_a_name_or_a_value_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="write it as option=value"):
        options_from_texts([text])


def test_a_value_cannot_have_options_of_its_own() -> None:
    with pytest.raises(SettingsError, match=r"--set 'a.b=2': a is given twice, once as a value"):
        options_from_texts(["a=1", "a.b=2"])


def test_texts_are_read_as_the_fields_say() -> None:
    texts = ["inner_rate=1e-2", "inner_steps=5", "encoder.width=32"]
    config = validated(Outer, options_from_texts(texts), where="maml")
    assert config == Outer(inner_rate=0.01, inner_steps=5, encoder=Inner(width=32))


def test_a_message_ends_in_one_full_stop() -> None:
    class Strict(Settings):
        way: str = "5"
        shot: str = "1"

        @field_validator("way", "shot")
        @classmethod
        def _never(cls, text: str) -> str:
            raise ValueError(f"{text!r} is nothing; write 5.")

    with pytest.raises(SettingsError) as caught:
        validated(Strict, {"way": "x", "shot": "y"}, where="tasks")
    said = "tasks: way: 'x' is nothing; write 5; shot: 'y' is nothing; write 5."
    assert str(caught.value) == said


def test_a_misspelt_option_is_named_with_the_nearest() -> None:
    with pytest.raises(SettingsError) as caught:
        validated(Outer, {"inner_rat": 1}, where="maml")
    assert str(caught.value) == (
        "maml: there is no option inner_rat (did you mean inner_rate?); "
        "options: encoder, inner_rate, inner_steps."
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"inner_rate": "fast"}, r"maml: inner_rate: input should be a valid number"),
        ({"inner_rate": float("inf")}, r"inner_rate: input should be a finite number"),
        ({"inner_steps": 1.5}, r"inner_steps: input should be a valid integer"),
        ({"encoder": {"width": 0}}, r"encoder\.width: input should be greater than or equal to 1"),
        ({"encoder": "conv4"}, r"encoder: "),
    ],
)
def test_what_is_wrong_is_said_of_each_field(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        validated(Outer, options, where="maml")


def test_all_complaints_come_at_once() -> None:
    with pytest.raises(SettingsError, match=r"inner_rate: .*; inner_steps: .*\.$"):
        validated(Outer, {"inner_rate": "x", "inner_steps": "y"}, where="maml")


def test_a_configuration_is_frozen() -> None:
    config = Outer()
    with pytest.raises(ValidationError, match="frozen"):
        config.inner_rate = 1.0
