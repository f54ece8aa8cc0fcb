"""A random forest per task whose depth, leaf size and feature share are learned across tasks."""

from __future__ import annotations

from itertools import product

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Predictor, Target
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits, check_task_fits
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._choice import Choice
from medmeta.learners.classical.random_forest import RandomForestConfig, RandomForestHead

MOST = {"depths": 100, "leaves": 1000, "shares": 1}  # as of the plain forest


class MetaRFConfig(HeadConfig):
    """Options of Meta-RF.

    ``trees`` of each forest. What is chosen among: ``depths`` at most (100: until leaves are pure),
    ``leaves``: least numbers of images in a leaf, ``shares`` of the features that a split is
    chosen among. It starts at the first of each. All combinations are tried in training, so each
    costs a forest for each task.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-2, tasks_per_step=4)
    trees: int = Field(50, ge=1, le=10_000)
    depths: tuple[int, ...] = (100, 2)
    leaves: tuple[int, ...] = (1, 2)
    shares: tuple[float, ...] = (0.3, 0.1, 1.0)

    @field_validator("depths", "leaves", "shares", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """A text such as ``2,100`` is two numbers."""
        return value.split(",") if isinstance(value, str) else value

    @field_validator("depths", "leaves", "shares")
    @classmethod
    def _fit(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        most = MOST[str(info.field_name)]
        if not value or min(value) <= 0 or max(value) > most:
            raise ValueError(f"one number or more, all above zero and at most {most}")
        return value

    def candidates(self) -> list[RandomForestConfig]:
        """All combinations."""
        return [
            RandomForestConfig(trees=self.trees, depth=depth, leaf=leaf, share=share)
            for depth, leaf, share in product(self.depths, self.leaves, self.shares)
        ]


class MetaRFHead(AbstractLearner):
    """The forest of the settings that did best on source tasks; embeddings ``(T, S, D)``.

    What is learned across tasks is a weight for each setting: the loss is the expectation of the
    forests' losses under their softmax, whose gradient is exact. Nothing reaches the encoder.
    Forests: Breiman 2001.
    """

    def __init__(self, config: MetaRFConfig) -> None:
        super().__init__()
        self.forests = tuple(RandomForestHead(c) for c in config.candidates())
        self.choice = Choice(len(self.forests), first=0)
        plain = self.forests[0].traits
        self.traits = Traits(
            differentiable=False,
            order_free=False,
            label_equivariant=False,
            targets=plain.targets,
            input_kinds=plain.input_kinds,
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Fit forests with the likeliest setting."""
        check_task_fits(self, target)
        return self.forests[self.choice.best].adapt(support, target)

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: the query's loss expected over the settings."""
        check_task_fits(self, episode.target)
        with torch.no_grad():
            losses = torch.stack([forest.loss(episode) for forest in self.forests], dim=-1)
        return self.choice.expected(losses)


def _build_head(config: MetaRFConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return MetaRFHead(config)


SPEC = LearnerSpec.of_head(
    name="meta_rf",
    family="classical",
    summary="a random forest, its depth, leaf size and feature share learned across tasks",
    paper="Breiman 2001, Random Forests, with settings learned on source tasks",
    config=MetaRFConfig,
    build_head=_build_head,
)
