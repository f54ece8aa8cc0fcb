"""A U-Net trained on the support: from what it learned of other structures, or from nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Episode, Inputs, LabelledSet, Target, any_tensor
from medmeta.learner import TrainingDefaults, check_task_fits
from medmeta.learners._adam import TaskAdam
from medmeta.learners._inner_loop import LossOfTask, Weights
from medmeta.learners._mini_batches import descend_in_batches, mini_batches, together
from medmeta.learners.baselines.fine_tuning import Initial, starting_weights
from medmeta.learners.gradient._adapting import (
    AdaptingLearner,
    Fitting,
    FixedLayerConfig,
    whole_network_spec,
)
from medmeta.task_loss import task_loss
from medmeta.tasks import map_tasks


class TunedUNetConfig(FixedLayerConfig):
    """Options of the U-Net that is trained on the support.

    ``test_steps`` of Adam (without momentum) at ``rate`` within each task, on ``batch`` images.
    ``initial``: from the network's own weights (``learned``), which are trained to mark whatever is
    marked in any task, or from ``fresh`` ones drawn by the task's id. ``max_way`` is the size of
    the output layer (None: the structures it is first built for). ``focal`` is the focal loss's
    exponent (0: cross-entropy).
    """

    training_defaults = TrainingDefaults(learning_rate=2e-3, tasks_per_step=4)
    test_steps: int | None = Field(60, ge=0, le=100_000)
    rate: float = Field(2e-3, gt=0)
    batch: int | None = Field(4, ge=1)
    initial: Initial = "learned"
    focal: float = Field(0.0, ge=0, le=10)


class TunedUNet(AdaptingLearner):
    """The baseline of few-shot segmentation: train on all other structures, then on the support.

    Ronneberger, Fischer and Brox 2015 for the network; across tasks it learns without adapting, as
    one network for all structures.
    """

    config: TunedUNetConfig

    def __init__(
        self, network: nn.Module, config: TunedUNetConfig, **fitting: Unpack[Fitting]
    ) -> None:
        super().__init__(network, config, **fitting)
        self.traits = replace(
            self.traits,
            targets=frozenset({"masks"}),
            trainable=config.initial == "learned",
            maps_tasks=False,
            differentiable=False,
            order_free=config.batch is None,
        )

    @torch.no_grad()
    def adapted(self, support: LabelledSet, target: Target) -> Weights:
        """The weights after ``test_steps``."""
        config, loss = self.config, self.loss_of_task(target)

        def of_task(start: Weights, images: Inputs, labels: Tensor, order: Tensor) -> Weights:
            update = TaskAdam(config.rate)
            return descend_in_batches(loss, start, update, images, labels, order)

        order = mini_batches(support, config.test_steps or 0, config.batch)
        start = starting_weights(self.starting_weights(), support, config.initial)
        return dict(map_tasks(of_task, start, support.inputs, support.labels, order, method="loop"))

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: of the network as it is, on support and query."""
        check_task_fits(self, episode.target, episode.support)
        whole = together(episode.support, episode.query)
        if not self.traits.trainable:
            return super().loss(episode)
        images = any_tensor(whole.inputs)
        answers: Tensor = self.network(images.flatten(0, 1))[:, : episode.target.size]
        answers = answers.reshape(*images.shape[:2], *answers.shape[1:])
        return task_loss(answers, whole.labels, episode.target, focal=self.config.focal)

    def loss_of_task(self, target: Target) -> LossOfTask:
        """Of weights, inputs ``(S, ...)`` and labels of one task: the mean loss."""

        def loss(weights: Weights, images: Inputs, labels: Tensor) -> Tensor:
            outputs = self._forward(weights, images, target)
            return task_loss(outputs[None], labels[None], target, focal=self.config.focal)[0]

        return loss


SPEC = whole_network_spec(
    TunedUNet,
    name="tuned_unet",
    family="segmentation",
    summary="a U-Net that is trained on the support, from other structures or from nothing",
    paper="Ronneberger, Fischer and Brox 2015, U-Net",
    config=TunedUNetConfig,
    masks=True,
)
