"""What the card of a saved model or evaluation must hold, checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medmeta.data.preprocess import Preprocessing
from medmeta.episode import InputSpec
from medmeta.errors import CheckpointError

Count = Annotated[int, Field(ge=1)]


class Card(BaseModel):
    """Base of cards: what is named must be right, what else is there is kept."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, defer_build=True)


class _Encoder(Card):
    name: str


class _Options(Card):
    encoder: _Encoder


class _InputSpec(Card):
    channels: Annotated[int, Field(ge=0)]
    size: list[Count]
    parts: dict[str, _InputSpec] = {}

    def spec(self) -> InputSpec:
        """As learners take it."""
        parts = tuple((name, part.spec()) for name, part in self.parts.items())
        return InputSpec(self.channels, tuple(self.size), parts)


def spec_in_card(spec: InputSpec) -> dict[str, Any]:
    """A shape of inputs as it stands in cards."""
    told: dict[str, Any] = {"channels": spec.channels, "size": list(spec.size)}
    if spec.parts:
        told["parts"] = {name: spec_in_card(part) for name, part in spec.parts}
    return told


def spec_from_card(told: Mapping[str, Any]) -> InputSpec:
    """The shape of inputs that stands in a card which was checked."""
    return _InputSpec.model_validate(told).spec()


class TargetInCard(Card):
    """What a learner answers with."""

    kind: Literal["classes", "masks", "values"]
    size: Count


class _Source(Card):
    name: str
    classes: list[str] = []


class About(Card):
    """What people wrote about a model, for people; ``figures`` are texts or named numbers."""

    what: str = ""
    data: list[str] = []
    licences: list[str] = []
    recipe: str = ""
    figures: list[str | dict[str, Any]] = []
    limits: list[str] = []


class Facts(Card):
    """What a model's card says of its training."""

    medmeta: str = ""
    paper: str = ""
    step: int | None = None
    training: dict[str, Any] = {}
    protocol: dict[str, Any] = {}
    sources: list[_Source] = []
    init: _Init | None = None
    about: About | None = None


class _Init(Card):
    """What the encoder of a model started from."""

    sha256: str
    card: Facts


class BuiltFrom(Card):
    """What a learner is rebuilt from."""

    learner: str
    options: _Options
    input_spec: _InputSpec
    target: TargetInCard
    preprocessing: dict[str, Any]

    @model_validator(mode="after")
    def _images_fit(self) -> BuiltFrom:
        if Preprocessing.model_validate(self.preprocessing).input_spec != self.input_spec.spec():
            raise ValueError("preprocessing and input_spec are of different images")
        return self


class ModelCard(BuiltFrom, Facts):
    """The card of ``RUN/model-…``."""


class _Figure(Card):
    mean: float | None = None
    low: float | None = None
    high: float | None = None


class _Drawn(Card):
    model_config = ConfigDict(strict=False)  # JSON has no tuples

    kind: Literal["classes", "masks", "values"] = "classes"
    n_way: tuple[Count, Count]
    n_shot: tuple[Count, Count]


class HeadInCard(Card):
    """A head that stands in for a model's own."""

    name: str
    options: dict[str, Any]


class EvaluationCard(Card):
    """``RUN/evaluations/…/summary.json``."""

    source: str
    novelty: str = ""
    protocol: _Drawn
    summary: dict[str, _Figure]
    baselines: dict[str, _Figure] = {}
    dropped: dict[str, int] = {}
    head: HeadInCard | None = None
    model: str = ""


class _Group(Card):
    name: str
    images: Count
    inside: _Figure
    outside: _Figure
    difference: _Figure


class _Worsened(Card):
    distortion: str
    severity: Annotated[int, Field(ge=1, le=5)]
    worse: _Figure
    difference: _Figure


class ShiftCard(Card):
    """``RUN/shifts/…/summary.json``: either of groups, or of worse queries."""

    source: str
    column: str
    metric: str
    protocol: _Drawn
    groups: list[_Group] = []
    left_out: dict[str, str] = {}
    clean: _Figure | None = None
    worsened: list[_Worsened] = []
    head: HeadInCard | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> ShiftCard:
        if bool(self.groups) == (self.clean is not None and bool(self.worsened)):
            raise ValueError("it holds neither groups nor worse queries")
        return self


def check_card(kind: type[Card], card: Mapping[str, Any], *, where: Path) -> None:
    """Raise ``CheckpointError`` that names the file and the field where a card is not right."""
    try:
        kind.model_validate(card)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "it"
        raise CheckpointError(
            f"{where}: the card is incomplete, damaged or of another version of medmeta ({field}: "
            f"{first['msg'][:1].lower()}{first['msg'][1:]}); restore it from a copy, or train or "
            "adapt again."
        ) from None
