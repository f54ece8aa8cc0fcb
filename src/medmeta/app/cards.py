"""What the card of a saved model, predictor or evaluation must hold, checked before it is used."""

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


class _Target(Card):
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


class _Facts(Card):
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
    card: _Facts


class _Built(Card):
    """What a learner is rebuilt from."""

    learner: str
    options: _Options
    input_spec: _InputSpec
    target: _Target
    preprocessing: dict[str, Any]

    @model_validator(mode="after")
    def _images_fit(self) -> _Built:
        if Preprocessing.model_validate(self.preprocessing).input_spec != self.input_spec.spec():
            raise ValueError("preprocessing and input_spec are of different images")
        return self


class ModelCard(_Built, _Facts):
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


class _Head(Card):
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
    head: _Head | None = None


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
    head: _Head | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> ShiftCard:
        if bool(self.groups) == (self.clean is not None and bool(self.worsened)):
            raise ValueError("it holds neither groups nor worse queries")
        return self


class _Support(Card):
    images: Count
    patients_known: bool = False
    volumes: Annotated[int, Field(ge=0)] = 0
    voxels_mm: list[Annotated[float, Field(gt=0)]] | None = Field(None, min_length=3, max_length=3)


class _Range(Card):
    """The range of grey levels that a support's groups were brought to, and the groups' own."""

    column: str
    reference: list[float] = Field(min_length=2, max_length=2)
    groups: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]]

    @model_validator(mode="after")
    def _ranges_rise(self) -> _Range:
        if any(high <= low for low, high in (self.reference, *self.groups.values())):
            raise ValueError("a range of grey levels does not rise")
        return self


class _Candidate(Card):
    name: str
    accuracy: float | None = None
    loss: float | None = None
    past: float | None = None
    expected: float | None = None


class _Choice(Card):
    """What a learner chose for a predictor's task, and from what."""

    chosen: str
    in_words: str
    why: str
    how: str
    candidates: list[_Candidate] = []
    tried: Annotated[int, Field(ge=0)]
    of: Count


class PredictorCard(_Built):
    """The card of a predictor."""

    model_target: _Target
    head: _Head | None
    class_names: list[str]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    model: _Facts
    evaluations: list[EvaluationCard] = []
    support: _Support
    standardise: _Range | None = None
    trust: dict[str, Any] | None = None
    choice: _Choice | None = None

    @model_validator(mode="after")
    def _trust_fits(self) -> PredictorCard:
        if self.trust is not None and (self.trust.get("calibration") or {}).get("bias"):
            n = len(self.trust["calibration"]["bias"])
            if n != len(self.class_names):
                raise ValueError(f"its calibration is of {n} classes")
        sets = (self.trust or {}).get("sets")
        if sets and not len(sets["folds"]) == len(sets["scores"]) == self.support.images:
            raise ValueError("its sets are of another support")
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> PredictorCard:
        expected = self.target.size if self.target.kind == "classes" else 0
        if len(self.class_names) != expected:
            raise ValueError(f"{len(self.class_names)} class names for {expected} classes")
        return self


class _HeldOut(Card):
    """What marked images showed of one structure when they were left out."""

    structure: str
    dice: Annotated[float, Field(ge=0, le=1)]
    low: Annotated[float, Field(ge=0, le=1)] | None
    high: Annotated[float, Field(ge=0, le=1)] | None
    agreement: Annotated[float, Field(ge=0, le=1)]
    images: Annotated[int, Field(ge=1)]
    groups: Annotated[int, Field(ge=1)]


class MaskPredictorCard(_Built):
    """The card of a predictor of masks."""

    model_target: _Target
    structures: list[str] = Field(min_length=1)
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    model: _Facts
    support: _Support
    held_out: list[_HeldOut] = []
    tried_without_a_run: dict[str, Annotated[float, Field(ge=0, le=1)] | None] = {}

    @model_validator(mode="after")
    def _names_fit(self) -> MaskPredictorCard:
        if self.target.kind != "masks" or len(self.structures) != self.target.size - 1:
            raise ValueError(f"{len(self.structures)} structures for {self.target.size - 1}")
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
