"""Values on any scale: a wrapping learner that standardises them on the support."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from medmeta.episode import Episode, LabelledSet, Predictor, Target
from medmeta.learner import AbstractLearner, Settled


@dataclass(frozen=True)
class ValueScale:
    """Mean and spread of the support's values, each ``(T, 1, size)``."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, support: LabelledSet) -> ValueScale:
        """Measure the support; a spread that is nothing but rounding counts as one."""
        values = support.labels
        mean = values.mean(1, keepdim=True)
        spread = (values - mean).square().mean(1, keepdim=True).sqrt()
        return cls(mean, spread.where(spread > 1e-6 * mean.abs(), spread.new_ones(())))

    def standardise(self, labelled: LabelledSet) -> LabelledSet:
        """The same set with standardised values."""
        return replace(labelled, labels=(labelled.labels - self.mean) / self.spread)


class StandardisedValues(AbstractLearner):
    """Lets a learner of values work in units of each task's own support.

    So the same inner rate or penalty serves bone ages in months and fractions of a width.
    """

    def __init__(self, learner: AbstractLearner) -> None:
        super().__init__()
        self.learner = learner
        self.traits = learner.traits

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Standardise, adapt, and answer in the units given."""
        scale = ValueScale.of(support)
        predictor = self.learner.adapt(scale.standardise(support), target)
        return lambda inputs: predictor(inputs) * scale.spread + scale.mean

    def settled(
        self, support: LabelledSet, target: Target, *, seconds: float | None = None
    ) -> Settled:
        """The learner's choices, made in units of the support's spread."""
        standardised = ValueScale.of(support).standardise(support)
        found = self.learner.settled(standardised, target, seconds=seconds)
        return found.within(StandardisedValues)

    def loss(self, episode: Episode) -> Tensor:
        """The learner's own loss, in units of the support's spread."""
        scale = ValueScale.of(episode.support)
        return self.learner.loss(
            Episode(
                scale.standardise(episode.support),
                scale.standardise(episode.query),
                episode.target,
            )
        )
