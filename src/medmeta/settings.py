"""Validated, immutable configurations: the base class and the reading of one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from medmeta.errors import SettingsError


class Settings(BaseModel):
    """A frozen configuration whose unknown fields are refused.

    Flags, TOML files, web forms and saved cards all come from its fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


AnySettings = TypeVar("AnySettings", bound=Settings)


def validated(kind: type[AnySettings], values: Mapping[str, Any], *, where: str) -> AnySettings:
    """``values`` as a configuration of this kind.

    ``where`` says in the message whose options these are. Raises ``SettingsError`` that names each
    field, what is wrong with it, and the nearest field of a misspelt one.

    >>> class Inner(Settings):
    ...     inner_rate: float = 0.4
    >>> validated(Inner, {"inner_rate": "0.1"}, where="maml").inner_rate
    0.1
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        lines = [_complaint(kind, e["loc"], e["msg"], e["type"]) for e in error.errors()]
        raise SettingsError(f"{where}: {'; '.join(lines)}.") from None


def in_plain_words(message: str) -> str:
    """What is wrong, as pydantic tells it, without its own words and without a full stop.

    >>> in_plain_words("Value error, give one number.")
    'give one number'
    """
    return message.removeprefix("Value error, ").removesuffix(".")


def _complaint(kind: type[Settings], location: tuple[int | str, ...], text: str, code: str) -> str:
    name = ".".join(str(part) for part in location)
    if code != "extra_forbidden":
        told = in_plain_words(text)
        return f"{name}: {told[:1].lower()}{told[1:]}" if name else told
    fields = _fields_at(kind, location[:-1])
    near = difflib.get_close_matches(str(location[-1]), fields, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    known = ", ".join(sorted(fields)) or "none"
    return f"there is no option {name}{meant}; options: {known}"


def _fields_at(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the configuration that a path of field names leads to."""
    for part in path:
        inner = kind.model_fields[str(part)].annotation if part in kind.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        kind = inner
    return list(kind.model_fields)


def options_from_texts(texts: list[str]) -> dict[str, Any]:
    """``["inner_rate=0.1", "encoder.width=32"]`` as a nested mapping; values stay texts.

    Raises ``SettingsError`` for a text without ``=``.

    >>> options_from_texts(["a=1", "b.c=x"])
    {'a': '1', 'b': {'c': 'x'}}
    """
    options: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise SettingsError(f"--set {text!r}: write it as option=value.")
        *parents, last = path.strip().split(".")
        inner = options
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise SettingsError(f"--set {text!r}: {parent} is given twice, once as a value.")
        if isinstance(inner.get(last), dict):
            raise SettingsError(
                f"--set {text!r}: {last} has options of its own; name it by "
                f"--set {last}.name={value.strip()}."
            )
        inner[last] = value.strip()
    return options
