"""Fine-tuning: the whole network is trained on the support, from one start or from nothing."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Literal, Self, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from medmeta.encoders import keeps_running_statistics
from medmeta.episode import Inputs, LabelledSet, Predictor, Target
from medmeta.learners._inner_loop import (
    Update,
    Weights,
    loss_and_gradients,
)
from medmeta.learners._mini_batches import descend_in_batches, mini_batches
from medmeta.learners.gradient._adapting import (
    AdaptingLearner,
    Fitting,
    FixedLayerConfig,
    falling_rate,
    whole_network_spec,
)
from medmeta.task_loss import task_loss
from medmeta.tasks import map_tasks

Initial = Literal["learned", "fresh"]
DEFAULT_RATE, PROBE_MOMENTUM = 0.01, 0.9


class FineTuningConfig(FixedLayerConfig):
    """Options of fine-tuning.

    ``test_steps`` within each task, by descent at ``rate`` (None: 0.01, for values on embeddings of
    more than 64 numbers 0.01 · 64 / size) with ``momentum``; ``batch``: images in each step,
    drawn by each task's own id (None: all). ``initial``: where each task starts, at
    the network's own weights (``learned``) or at ``fresh`` ones drawn by the task's id: what a
    network trained on the support alone can do. ``probe_steps``: of descent on the output layer
    alone before that, over embeddings as they are, from nothing (Kumar et al. 2022). ``max_way`` is
    the size of the output layer.
    """

    test_steps: int | None = Field(50, ge=0, le=100_000)
    rate: float | None = Field(None, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    batch: int | None = Field(None, ge=1)
    initial: Initial = "learned"
    probe_steps: int = Field(0, ge=0, le=100_000)

    def on_embedding(self, size: int, target: Target) -> FineTuningConfig:
        """With ``rate`` filled in."""
        falling = falling_rate(size) if target.kind == "values" else 1.0
        return self.model_copy(update={"rate": self.rate or DEFAULT_RATE * falling})


class FineTuning(AdaptingLearner):
    """Trains all weights within the task; nothing is learned across tasks.

    ``network`` maps ``(N, C, *space)`` to ``(N, outputs)``, its output layer last. The fine-tuning
    of Guo et al. 2020, section 5, with one rate for all layers; running statistics of a trained
    encoder stay as they are.
    """

    config: FineTuningConfig
    network: nn.Sequential

    def __init__(
        self, network: nn.Sequential, config: FineTuningConfig, **fitting: Unpack[Fitting]
    ) -> None:
        super().__init__(network, config, **fitting)
        self.traits = replace(
            self.traits, trainable=False, differentiable=False, order_free=config.batch is None
        )

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but layers that keep running statistics: these stay as they are."""
        super().train(mode)
        for module in self.modules():
            if _has_statistics(module):
                module.eval()
        return self

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Train within each task; what begins at nothing has no statistics of a training either."""
        if self.config.initial == "learned" or not any(map(_has_statistics, self.modules())):
            return super().adapt(support, target)
        other = copy.deepcopy(self)
        for module in filter(_has_statistics, other.modules()):
            if callable(reset := getattr(module, "reset_running_stats", None)):
                reset()
        return super(FineTuning, other).adapt(support, target)

    @torch.no_grad()
    def adapted(self, support: LabelledSet, target: Target) -> Weights:
        """The weights after ``test_steps``."""
        loss = self.loss_of_task(target)

        def of_task(start: Weights, images: Inputs, labels: Tensor, order: Tensor) -> Weights:
            update = with_momentum(self.config.rate or DEFAULT_RATE, self.config.momentum)
            if self.config.probe_steps:
                start = {**start, **self._probed(start, images, labels, target)}
            return descend_in_batches(loss, start, update, images, labels, order)

        order = mini_batches(support, self.config.test_steps or 0, self.config.batch)
        start = starting_weights(self.starting_weights(), support, self.config.initial)
        return dict(
            map_tasks(of_task, start, support.inputs, support.labels, order, method=self.task_map)
        )

    def _probed(self, start: Weights, images: Inputs, labels: Tensor, target: Target) -> Weights:
        """The output layer's weights for a task, the rest being as at the start."""
        last, place = self.network[-1], len(self.network) - 1
        features = functional_call(self.network[:-1], _below(start, place), (images,)).detach()
        # No curvature of the loss is above the mean squared length, the constant's 1 with it.
        update = with_momentum(1 / (features.square().sum(1).mean() + 1), PROBE_MOMENTUM)

        def loss(weights: Weights) -> Tensor:
            outputs = functional_call(last, weights, (features,))[:, : target.size]
            return task_loss(outputs[None], labels[None], target)[0]

        names = [name for name, _ in last.named_parameters()]
        weights = {name: torch.zeros_like(start[f"{place}.{name}"]) for name in names}
        for step in range(self.config.probe_steps):
            _, slopes = loss_and_gradients(loss, weights, first_order=True)
            weights = update(weights, slopes, step)
        return {f"{place}.{name}": weight for name, weight in weights.items()}


def _has_statistics(module: nn.Module) -> bool:
    return keeps_running_statistics(module) and not list(module.children())


def _below(weights: Weights, place: int) -> Weights:
    """The weights of all layers before one."""
    return {name: w for name, w in weights.items() if int(name.split(".", 1)[0]) < place}


def with_momentum(rate: float | Tensor, momentum: float) -> Update:
    """Descent with momentum (as torch's ``SGD``), for the steps of one task."""
    speed: Weights = {}

    def update(weights: Weights, gradients: Weights, step: int) -> Weights:
        for name, gradient in gradients.items():
            speed[name] = momentum * speed[name] + gradient if name in speed else gradient
        return {name: weight - rate * speed[name] for name, weight in weights.items()}

    return update


def starting_weights(learned: Weights, support: LabelledSet, initial: Initial) -> Weights:
    """Where each task starts, with a first axis of tasks: at the learned weights or afresh."""
    own = {name: weight.detach() for name, weight in learned.items()}
    if initial == "learned":
        return {name: w.expand(support.n_tasks, *w.shape) for name, w in own.items()}
    drawn = [fresh_weights(own, int(task_id)) for task_id in support.task_ids.tolist()]
    return {name: torch.stack([weights[name] for weights in drawn]) for name in own}


def fresh_weights(like: Weights, seed: int) -> Weights:
    """Weights of these shapes: uniform as torch draws its layers, scales 1 and biases 0."""
    random = torch.Generator().manual_seed(seed % 2**63)
    fresh = {}
    for name, weight in like.items():
        if weight.ndim < 2:
            value = 0.0 if name.endswith("bias") else 1.0
            fresh[name] = torch.full_like(weight, value)
            continue
        bound = 1 / math.sqrt(weight[0].numel())
        drawn = torch.rand(weight.shape, generator=random, dtype=torch.float32)
        fresh[name] = ((2 * drawn - 1) * bound).to(weight)
    return fresh


SPEC = whole_network_spec(
    FineTuning,
    name="fine_tuning",
    family="baselines",
    summary="the whole network trained on the support, from one start or from nothing",
    paper="Guo et al. 2020, A Broader Study of Cross-Domain Few-Shot Learning",
    config=FineTuningConfig,
    masks=True,
    tunes=True,
    tried=(
        {"probe_steps": 100, "rate": 0.001, "test_steps": 20},
        {"probe_steps": 100, "rate": 0.001, "test_steps": 60},
        {"probe_steps": 100, "rate": 0.003, "test_steps": 60},
    ),
)
