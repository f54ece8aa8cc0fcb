"""What the card of a saved predictor must hold, of classes, values or masks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from medmeta.app.cards import (
    BuiltFrom,
    Card,
    Count,
    EvaluationCard,
    Facts,
    HeadInCard,
    TargetInCard,
)


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
    candidates: list[_Candidate] = Field([])
    tried: Annotated[int, Field(ge=0)]
    of: Count


class PredictorCard(BuiltFrom):
    """The card of a predictor."""

    model_target: TargetInCard
    head: HeadInCard | None
    class_names: list[str]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    model: Facts
    evaluations: list[EvaluationCard] = Field([])
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


class MaskPredictorCard(BuiltFrom):
    """The card of a predictor of masks."""

    model_target: TargetInCard
    structures: list[str] = Field(min_length=1)
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    model: Facts
    support: _Support
    held_out: list[_HeldOut] = Field([])
    tried_without_a_run: dict[str, Annotated[float, Field(ge=0, le=1)] | None] = Field({})

    @model_validator(mode="after")
    def _names_fit(self) -> MaskPredictorCard:
        if self.target.kind != "masks" or len(self.structures) != self.target.size - 1:
            raise ValueError(f"{len(self.structures)} structures for {self.target.size - 1}")
        return self
