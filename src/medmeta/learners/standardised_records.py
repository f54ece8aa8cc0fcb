"""Patients' records in any units and with gaps: a wrapping learner that standardises them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medmeta.episode import Episode, Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.input_parts import RECORD
from medmeta.learner import AbstractLearner, Settled

MOST = 4.0
"""Spreads from the mean beyond which a number counts as this far: a support may be of two."""


@dataclass(frozen=True)
class RecordScale:
    """Mean and spread of each number of the support's records, each ``(T, 1, R)``.

    A spread of 0 marks a number that is the same, or unknown, in all of the support: of it nothing
    was learned, and it says nothing.
    """

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, records: Tensor) -> RecordScale:
        """Measure records ``(T, S, R)``, in which NaN is not known."""
        mean = records.nanmean(1, keepdim=True).nan_to_num(0.0)
        spread = (records - mean).square().nanmean(1, keepdim=True).sqrt().nan_to_num(0.0)
        return cls(mean, spread.where(spread > 1e-5 * mean.abs() + 1e-12, spread.new_zeros(())))

    def standardise(self, records: Tensor) -> Tensor:
        """Records in spreads from the mean; what is not known, or says nothing, is 0."""
        told = self.spread > 0
        scaled = (records - self.mean) / self.spread.where(told, self.spread.new_ones(()))
        return scaled.nan_to_num(0.0).where(told, scaled.new_zeros(())).clamp(-MOST, MOST)


class StandardisedRecords(AbstractLearner):
    """Lets a learner work on records in units of each task's own support.

    So a laboratory value is read the same in whatever unit a hospital has it, the encoder stays
    a pure function of one patient, and nothing of a query is looked at but itself. Gaps are
    filled with the support's mean. Inputs are records ``(T, S, R)``, or a mapping with a
    ``record`` among them.
    """

    def __init__(self, learner: AbstractLearner) -> None:
        super().__init__()
        self.learner = learner
        # What an image embeds to now depends on the support, so there is nothing to embed once.
        self.traits = replace(learner.traits, has_head=False)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Standardise, and adapt."""
        scale = RecordScale.of(record_of(support.inputs))
        predictor = self.learner.adapt(_scaled(support, scale), target)
        return lambda inputs: predictor(_with_record(inputs, scale))

    def settled(
        self, support: LabelledSet, target: Target, *, seconds: float | None = None
    ) -> Settled:
        """The learner's choices, made on standardised records."""
        scaled = _scaled(support, RecordScale.of(record_of(support.inputs)))
        found = self.learner.settled(scaled, target, seconds=seconds)
        return found.within(StandardisedRecords)

    def loss(self, episode: Episode) -> Tensor:
        """The learner's own loss, on standardised records."""
        scale = RecordScale.of(record_of(episode.support.inputs))
        support, query = _scaled(episode.support, scale), _scaled(episode.query, scale)
        return self.learner.loss(Episode(support, query, episode.target))


def has_record(spec: InputSpec) -> bool:
    """Whether inputs of this shape are records, or have one among them.

    >>> has_record(InputSpec(5, ())), has_record(InputSpec(3, (64, 64)))
    (True, False)
    """
    return spec.kind == "vector" or spec.part(RECORD) is not None


def record_of(inputs: Inputs) -> Tensor:
    """The records ``(T, S, R)``."""
    return any_tensor(inputs) if isinstance(inputs, Tensor) else inputs[RECORD]


def _scaled(labelled: LabelledSet, scale: RecordScale) -> LabelledSet:
    return labelled.with_inputs(_with_record(labelled.inputs, scale))


def _with_record(inputs: Inputs, scale: RecordScale) -> Inputs:
    record = scale.standardise(record_of(inputs))
    return record if isinstance(inputs, torch.Tensor) else {**inputs, RECORD: record}
