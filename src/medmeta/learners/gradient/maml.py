"""MAML: an initialisation from which a few gradient steps solve a new task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Unpack

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from medmeta.episode import Episode, Inputs, Target
from medmeta.learner import TrainingDefaults, check_task_fits
from medmeta.learners._inner_loop import Update, Weights, descend, fixed_rate
from medmeta.learners.gradient._adapting import (
    DescendingLearner,
    DescentConfig,
    Fitting,
    whole_network_spec,
)
from medmeta.learners.gradient._learned_rates import LearnedRates
from medmeta.learners.gradient._step_weights import StepWeights
from medmeta.tasks import map_tasks

LossesOfTask = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class MAMLConfig(DescentConfig):
    """Options of MAML.

    ``inner_rate`` is on the MEAN cross-entropy of the support. (The paper's 0.4 for Omniglot is on
    a loss summed over the classes, so here it would be 0.4 times the number of ways.) None: 0.4 for
    classes on embeddings of up to 64 numbers, and 0.4 · 64 / size on larger ones (0.032 for the 800
    of miniImageNet's network, where the paper took 0.05); 0.01 for values, as in the paper, and
    0.01 · 64 / size on larger embeddings; 0.1 for masks.
    ``inner_steps`` while training, ``test_steps`` when adapting (None: the same). ``first_order``
    leaves out second derivatives. ``inner_checkpoint`` keeps less memory over several inner steps
    and computes them again in the backward pass. ``max_way`` is the size of the output layer:
    tasks of fewer classes use its first columns (None: the ways it is first built for).
    Of MAML++: ``learn_rates=per_layer_per_step`` learns an inner rate for each tensor of weights
    and step, from ``inner_rate`` on; ``step_weights``, one for each inner step, train on the
    query's loss after every step, not only after the last; with ``anneal_steps`` they move to the
    last within so many training steps, as in the paper.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=4)
    learn_rates: Literal["none", "per_layer_per_step"] = "none"
    step_weights: tuple[float, ...] | None = None
    anneal_steps: int | None = Field(None, ge=1)

    @field_validator("step_weights", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """A text such as ``1,1,2`` is three weights."""
        return value.split(",") if isinstance(value, str) else value

    @field_validator("step_weights")
    @classmethod
    def _fit(
        cls, value: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        if value is None:
            return None
        if len(value) != info.data.get("inner_steps", len(value)):
            raise ValueError(f"{len(value)} weights for {info.data['inner_steps']} inner_steps")
        if min(value) < 0 or sum(value) <= 0:
            raise ValueError("weights are not negative, and not all zero")
        if info.data.get("inner_checkpoint"):
            raise ValueError("the loss after every step cannot be had with inner_checkpoint")
        return value

    @field_validator("anneal_steps")
    @classmethod
    def _of_weights(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("step_weights", ()) is None:
            raise ValueError("there are no step_weights to move; give one for each inner step")
        return value


class MAML(DescendingLearner):
    """Adapts all weights by gradient descent on the support; learns where it starts.

    ``network`` maps ``(N, C, *space)`` to ``(N, outputs)``. Finn, Abbeel and Levine 2017,
    algorithm 2; first order as in its section 5.2. Learned rates and the loss of several steps:
    Antoniou, Edwards and Storkey 2019 (MAML++), section 4 and equation 4.
    """

    config: MAMLConfig

    def __init__(self, network: nn.Module, config: MAMLConfig, **fitting: Unpack[Fitting]) -> None:
        super().__init__(network, config, **fitting)
        self.rates: LearnedRates | None = None
        if config.learn_rates == "per_layer_per_step":
            weights, rate = self.starting_weights(), config.rate_for(fitting["target"])
            self.rates = LearnedRates(weights, rate, steps=config.inner_steps)
        self.step_weights: StepWeights | None = None
        if config.step_weights is not None:
            self.step_weights = StepWeights(config.step_weights, over=config.anneal_steps)

    def update(self, target: Target) -> Update:
        """``w - rate · g``."""
        return self.rates.update if self.rates else fixed_rate(self.config.rate_for(target))

    def learned_by_update(self) -> Sequence[Tensor]:
        """The rates, where they are learned."""
        return tuple(self.rates.parameters()) if self.rates else ()

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: the query's loss after the last step, or the weighted mean over all steps."""
        if self.step_weights is None:
            return super().loss(episode)
        check_task_fits(self, episode.target)
        losses: Tensor = map_tasks(
            self._loss_after_each_step(episode.target),
            *(episode.support.inputs, episode.support.labels),
            *(episode.query.inputs, episode.query.labels),
            method=self.task_map,
        )
        weights = self.step_weights.now().to(losses.dtype)
        if self.training:
            self.step_weights.advance()
        return losses @ weights

    def _loss_after_each_step(self, target: Target) -> LossesOfTask:
        """Of one task's support and query: the query's loss after each step, ``(steps,)``."""
        config, loss, update = self.config, self.loss_of_task(target), self.update(target)

        def losses_of(images: Inputs, labels: Tensor, queries: Inputs, answers: Tensor) -> Tensor:
            losses: list[Tensor] = []

            def noted(weights: Weights, gradients: Weights, step: int) -> Weights:
                after = update(weights, gradients, step)
                losses.append(loss(after, queries, answers))
                return after

            descend(
                lambda weights: loss(weights, images, labels),
                self.starting_weights(),
                noted,
                config.inner_steps,
                first_order=config.first_order,
            )
            return torch.stack(losses)

        return losses_of


SPEC = whole_network_spec(
    MAML,
    name="maml",
    family="gradient",
    summary="an initialisation from which a few gradient steps solve a new task",
    paper="Finn, Abbeel and Levine 2017, Model-Agnostic Meta-Learning",
    config=MAMLConfig,
    masks=True,
)
