"""A protocol: one frozen description of how tasks are drawn."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from medmeta.errors import SettingsError
from medmeta.settings import Settings, validated

Range = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class Protocol(Settings):
    """How tasks are drawn and from what; equal protocols draw equal tasks.

    ``n_way`` and ``n_shot`` are ranges, both ends included; each batch of ``tasks_per_batch``
    tasks has one way and one shot. ``n_query`` images per class are asked (for values: in all).
    Where masks are asked for (``kind`` masks), ``n_way`` counts the structures with the background,
    and ``n_shot`` and ``n_query`` the images in all. ``episodes`` tasks are meant to be drawn (0:
    without end). ``norm`` and ``transductive`` are written down with the results, because they
    change what a figure means. So are ``split`` (the only split that is drawn from),
    ``standardise`` (the column by which grey levels were brought together) and ``shift`` (from
    where support and query come, in words), where they are not empty.

    >>> Protocol(sources=("a",), n_way=(5, 5), n_shot=(1, 1), n_query=15).describe()
    '5-way 1-shot, 15 queries per class'
    """

    version: Literal[1] = 1
    sources: tuple[str, ...]
    kind: Literal["classes", "masks", "values"] = "classes"
    n_way: Range = (5, 5)
    n_shot: Range = (1, 1)
    n_query: int = Field(15, ge=1, le=10_000)
    episodes: int = Field(0, ge=0)
    tasks_per_batch: int = Field(1, ge=1, le=10_000)
    patient_disjoint: bool = True
    drop_small_classes: bool = False
    norm: str = "running"
    transductive: bool = False
    seed: int = Field(0, ge=0, lt=2**63)
    split: str = ""
    standardise: str = ""
    shift: str = ""

    @model_serializer(mode="wrap")
    def _without_the_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What later versions added is written only where it says something: digests stay."""
        held: dict[str, Any] = handler(self)
        added = ("split", "standardise", "shift")
        return {name: value for name, value in held.items() if name not in added or value}

    @field_validator("n_way", "n_shot")
    @classmethod
    def _rises(cls, ends: tuple[int, int], info: ValidationInfo) -> tuple[int, int]:
        low, high = ends
        if low > high:
            raise ValueError(f"the range {low}-{high} runs backwards")
        if info.field_name == "n_way" and low < 2 and info.data.get("kind") != "values":
            raise ValueError("a task needs at least two classes to tell apart (way 2 or more)")
        return ends

    def to_json(self) -> str:
        """As JSON; ``Protocol.from_json`` gives an equal protocol back."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Protocol:
        """Read what ``to_json`` wrote; raises ``SettingsError``."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise SettingsError(f"this protocol is not JSON ({error}).") from None
        if not isinstance(values, dict):
            raise SettingsError("this protocol is not a JSON object.")
        return validated(cls, values, where="protocol")

    def digest(self) -> str:
        """Sixteen hexadecimal digits: equal for equal protocols, on any machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def describe(self) -> str:
        """In words, for a table or a report."""
        shot = _range_text(self.n_shot)
        if self.kind == "values":
            return f"values from {shot} images, {self.n_query} queries"
        if self.kind == "masks":
            marked = _range_text((self.n_way[0] - 1, self.n_way[1] - 1))
            return f"masks of {marked} structures from {shot} images, {self.n_query} queries"
        way = _range_text(self.n_way)
        return f"{way}-way {shot}-shot, {self.n_query} queries per class"


def parse_range(text: str, *, name: str) -> tuple[int, int]:
    """``"5"`` or ``"2-5"`` as a range; raises ``SettingsError`` that names the option.

    >>> parse_range("2-5", name="--way")
    (2, 5)
    """
    match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", text)
    if match is None:
        raise SettingsError(f"{name} {text!r}: write a number (5) or a range (2-5).")
    low = int(match[1])
    high = int(match[2] or low)
    if not 1 <= low <= high:
        raise SettingsError(f"{name} {text!r}: numbers are 1 or more, the smaller one first.")
    return low, high


def _range_text(ends: tuple[int, int]) -> str:
    low, high = ends
    return str(low) if low == high else f"{low}-{high}"
