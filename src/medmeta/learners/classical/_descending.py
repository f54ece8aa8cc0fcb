"""A head that descends within the task, with step sizes and a last step learned across tasks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import Tensor

from medmeta.episode import Episode, Inputs, LabelledSet, Predictor, Target, TargetKind, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits, check_task_fits
from medmeta.learners._inner_loop import LossOfTask, Weights, descend, descend_tasks
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig
from medmeta.learners.classical._choice import Choice
from medmeta.learners.classical._support_scale import SupportScale
from medmeta.learners.gradient._learned_rates import LearnedRates
from medmeta.task_loss import task_loss
from medmeta.tasks import map_tasks

DEFAULT_RATE: dict[str, float] = {"classes": 2.0, "values": 0.3}


class DescentHeadConfig(HeadConfig):
    """Options of a head that descends on the mean loss of the support.

    ``rate``: where the step sizes start, on embeddings of mean square length 1 (None: 2 for
    classes, 0.3 for values); each step learns its own for each tensor of weights. ``steps`` at
    most; after which of them to stop is learned.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=4)
    rate: float | None = Field(None, gt=0)
    steps: int = Field(10, ge=1, le=1000)


class DescendingHead(AbstractLearner):
    """Gradient descent on embeddings ``(T, S, D)``, standardised on the support.

    Trained by the query's loss after each step, weighted by how likely it is to be the last;
    adapting stops at the likeliest. A subclass writes ``start`` and ``outputs``.
    """

    def __init__(self, config: DescentHeadConfig, kind: TargetKind, names: Sequence[str]) -> None:
        """``names`` of the tensors of weights that ``start`` gives."""
        super().__init__()
        rate = config.rate or DEFAULT_RATE[kind]
        self.rates = LearnedRates(dict.fromkeys(names, torch.zeros(())), rate, steps=config.steps)
        self.stopping = Choice(config.steps, first=config.steps - 1)
        self.steps = config.steps
        self.traits = Traits(targets=frozenset({kind}), input_kinds=frozenset({"vector"}))

    @abstractmethod
    def start(self, embeddings: Tensor, size: int) -> Weights:
        """Weights before the first step, the same for all tasks; for ``size`` outputs."""

    @abstractmethod
    def outputs(self, weights: Weights, embeddings: Tensor) -> Tensor:
        """``(..., Q, D)`` to ``(..., Q, size)``; all weights with or without a first axis."""

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Descend to the learned last step; the predictor holds the weights of each task."""
        check_task_fits(self, target)
        embeddings = at_least_single(any_tensor(support.inputs))
        scale = SupportScale.of(embeddings)
        weights = descend_tasks(
            self._loss_of_task(target),
            self.start(embeddings, target.size),
            (scale.apply_to_length(embeddings), support.labels),
            self.rates.update,
            self.stopping.best + 1,
        )

        def predict(inputs: Inputs) -> Tensor:
            return self.outputs(weights, scale.apply_to_length(at_least_single(any_tensor(inputs))))

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: the query's loss expected over the steps that may be the last."""
        check_task_fits(self, episode.target)
        embeddings = at_least_single(any_tensor(episode.support.inputs))
        queries = at_least_single(any_tensor(episode.query.inputs))
        scale = SupportScale.of(embeddings)
        losses: Tensor = map_tasks(
            self._losses_on_the_way(episode.target, self.start(embeddings, episode.target.size)),
            *(scale.apply_to_length(embeddings), episode.support.labels),
            *(scale.apply_to_length(queries), episode.query.labels),
        )
        return self.stopping.expected(losses)

    def _loss_of_task(self, target: Target) -> LossOfTask:
        def loss(weights: Weights, embeddings: Tensor, labels: Tensor) -> Tensor:
            outputs = self.outputs(weights, embeddings)
            return task_loss(outputs[None], labels[None], target)[0]

        return loss

    def _losses_on_the_way(self, target: Target, start: Weights) -> Callable[..., Tensor]:
        """Of one task's support and query: the query's loss after each step, ``(steps,)``."""
        loss = self._loss_of_task(target)

        def losses_of(images: Tensor, labels: Tensor, queries: Tensor, answers: Tensor) -> Tensor:
            losses: list[Tensor] = []

            def noted(weights: Weights, gradients: Weights, step: int) -> Weights:
                after = self.rates.update(weights, gradients, step)
                losses.append(loss(after, queries, answers))
                return after

            descend(lambda weights: loss(weights, images, labels), start, noted, self.steps)
            return torch.stack(losses)

        return losses_of
