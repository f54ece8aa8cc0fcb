"""How a training run goes: everything but the learner and the tasks."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from medmeta.episodes.augmentation import Augment
from medmeta.learner import OptimiserName
from medmeta.settings import Settings
from medmeta.training.task_plan import TaskMapChoice

Schedule = Literal["constant", "cosine", "halving", "linear"]
Precision = Literal["float32", "bfloat16"]


class TrainingSettings(Settings):
    """Options of a training run.

    ``augment`` ``light`` mirrors tasks and varies brightness, contrast and stain; ``modality``
    does to each picture what leaves it possible in its modality.
    ``schedule``: constant, a half cosine to zero, halved every ``halve_every`` steps, or falling
    in a straight line to zero (Reptile's outer rate).
    ``clip_norm`` bounds the gradient's norm (0: no bound). ``patience`` stops after so many
    validations without a better one (0: never). ``validate_every`` 0 means no validation.
    ``task_map``: how the tasks of a step are run; ``auto`` measures and takes the fastest.
    ``recorded``: on a GPU, a step's operations are recorded once and replayed. An option that
    the others leave without effect (``momentum`` of ``adam``) is refused.
    """

    steps: int = Field(1000, ge=1)
    optimiser: OptimiserName = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    schedule: Schedule = "constant"
    halve_every: int = Field(2000, ge=1)
    clip_norm: float = Field(10.0, ge=0)
    precision: Precision = "float32"
    task_map: TaskMapChoice = "auto"
    recorded: bool = True
    augment: Augment = "none"
    validate_every: int = Field(200, ge=0)
    patience: int = Field(0, ge=0)
    checkpoint_every: int = Field(200, ge=1)
    log_every: int = Field(10, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)

    @field_validator("momentum")
    @classmethod
    def _of_descent(cls, momentum: float, info: ValidationInfo) -> float:
        optimiser = info.data.get("optimiser", "sgd")
        if momentum and optimiser != "sgd":
            raise ValueError(f"this is of the optimiser sgd; {optimiser} has moments of its own")
        return momentum

    @field_validator("halve_every")
    @classmethod
    def _of_halving(cls, steps: int, info: ValidationInfo) -> int:
        schedule = info.data.get("schedule", "halving")
        if steps != cls.model_fields["halve_every"].default and schedule != "halving":
            raise ValueError(f"this is of the schedule halving, not of {schedule}")
        return steps

    @field_validator("patience")
    @classmethod
    def _of_validation(cls, patience: int, info: ValidationInfo) -> int:
        if patience and info.data.get("validate_every") == 0:
            raise ValueError("there is nothing to wait for: validate_every is 0")
        return patience

    @property
    def rates_depend_on_the_end(self) -> bool:
        """Whether a longer run would have had other rates from its first step on."""
        return self.schedule in ("cosine", "linear")

    def rate_at(self, step: int) -> float:
        """Learning rate of a step (counted from 0).

        >>> TrainingSettings(steps=4, schedule="cosine", learning_rate=1.0).rate_at(2)
        0.5
        """
        if self.schedule == "cosine":
            factor = (1 + math.cos(math.pi * step / self.steps)) / 2
        elif self.schedule == "halving":
            factor = 0.5 ** (step // self.halve_every)
        elif self.schedule == "linear":
            factor = 1 - step / self.steps
        else:
            factor = 1.0
        return round(self.learning_rate * factor, 15)
