"""Reptile: an initialisation that moves towards the weights that tasks end in."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Unpack

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from medmeta.episode import (
    Episode,
    Inputs,
    LabelledSet,
    Predictor,
    Target,
    any_tensor,
    joined_inputs,
    some_of,
)
from medmeta.learner import TrainingDefaults, check_task_fits
from medmeta.learners._adam import TaskAdam
from medmeta.learners._inner_loop import Update, Weights, fixed_rate
from medmeta.learners._mini_batches import descend_in_batches, mini_batches, together
from medmeta.learners.gradient._adapting import (
    AdaptingLearner,
    Fitting,
    FixedLayerConfig,
    falling_rate,
    whole_network_spec,
)
from medmeta.tasks import map_tasks

DEFAULT_RATE = {"adam": 1e-3, "sgd": 0.1}
RATE_OF_VALUES = {"adam": 1e-3, "sgd": 0.01}  # a squared error is steeper than a cross-entropy


class ReptileConfig(FixedLayerConfig):
    """Options of Reptile.

    ``inner_optimiser`` ``adam`` (without momentum, as in the paper) or ``sgd``. ``inner_moments``:
    each task starts Adam ``fresh``, or with the moments that were ``gathered`` in training; they
    are kept with the weights, and stay as they are after it. ``inner_rate`` None: 0.001 for adam,
    0.1 for sgd; of values 0.01 for sgd on embeddings of up to 64 numbers, and 0.01 · 64 / size on
    larger ones. ``inner_steps`` while training, ``test_steps`` when adapting (the paper: 50).
    ``inner_batch``: images in each inner step, drawn anew for each task (None: all). ``train_on``
    ``all`` the images of a task, support and query together (the paper's train shots), or its
    ``support`` alone. ``max_way`` is the size of the output layer: tasks of fewer classes use its
    first columns (None: the ways it is first built for).

    With ``norm=batch``, ``query_statistics`` says which images a query is normalised with while it
    is answered: the ``queries`` together, ``support_and_queries`` (the authors' transductive
    figures), or the ``support`` and that query alone (their others; no query helps another).
    """

    # The outer "gradient" is a way through weight space: bounding it would shorten the step.
    training_defaults = TrainingDefaults(
        optimiser="sgd", learning_rate=1.0, tasks_per_step=5, clip_norm=0.0
    )
    inner_optimiser: Literal["adam", "sgd"] = "adam"
    inner_moments: Literal["fresh", "gathered"] = "fresh"
    inner_rate: float | None = Field(None, gt=0)
    inner_steps: int = Field(5, ge=1, le=1000)
    test_steps: int | None = Field(10, ge=0, le=1000)
    inner_batch: int | None = Field(10, ge=1)
    train_on: Literal["all", "support"] = "all"
    query_statistics: Literal["queries", "support_and_queries", "support"] = "queries"

    @field_validator("inner_moments")
    @classmethod
    def _of_adam(cls, value: str, info: ValidationInfo) -> str:
        if value == "gathered" and info.data.get("inner_optimiser") == "sgd":
            raise ValueError("gathered needs inner_optimiser=adam; plain descent has none")
        return value

    def rate_for(self, target: Target) -> float:
        """``inner_rate``, or what stands for None where nothing is known of the network."""
        rates = RATE_OF_VALUES if target.kind == "values" else DEFAULT_RATE
        return self.inner_rate or rates[self.inner_optimiser]

    def on_embedding(self, size: int, target: Target) -> ReptileConfig:
        """With ``inner_rate`` filled in for plain descent on values: it falls with the size.

        (Adam's steps have the length of the rate, whatever the gradient.)

        >>> ReptileConfig(inner_optimiser="sgd").on_embedding(640, Target("values", 1)).inner_rate
        0.001
        """
        if self.inner_rate or self.inner_optimiser == "adam" or target.kind != "values":
            return self
        return self.model_copy(update={"inner_rate": self.rate_for(target) * falling_rate(size)})


class Reptile(AdaptingLearner):
    """Descends within the task; the meta-gradient is how far the weights went, turned around.

    ``network`` maps ``(N, C, *space)`` to ``(N, outputs)``. Nichol, Achiam and Schulman 2018,
    algorithm 2 (batched): with plain descent at rate ε the update is ``θ + ε · mean(θ' - θ)``.
    """

    config: ReptileConfig

    def __init__(
        self, network: nn.Module, config: ReptileConfig, **fitting: Unpack[Fitting]
    ) -> None:
        super().__init__(network, config, **fitting)
        self.traits = replace(
            self.traits,
            order_free=config.inner_batch is None,
            differentiable=False,
            transductive=self.traits.transductive and config.query_statistics != "support",
        )
        self.with_support = fitting.get("coupled", False) and config.query_statistics != "queries"
        self.moments: Moments | None = None
        if config.inner_moments == "gathered":
            self.moments = Moments(self.starting_weights())

    def adapted(self, support: LabelledSet, target: Target) -> Weights:
        """The weights after ``inner_steps``, or after ``test_steps`` in evaluation mode."""
        steps = self.config.inner_steps
        if not self.training and self.config.test_steps is not None:
            steps = self.config.test_steps
        return self._descended(support, target, steps)[0]

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Take the inner steps; a query is answered among the images that it is normalised with."""
        if not self.with_support:
            return super().adapt(support, target)
        check_task_fits(self, target, support)
        fast, at_once = self.adapted(support, target), self.traits.transductive

        def of_task(weights: Weights, shown: Inputs, queries: Inputs) -> Tensor:
            first = any_tensor(queries)
            every = torch.arange(len(first), device=first.device)
            groups = torch.split(every, max(len(first), 1) if at_once else 1)
            n_shown = len(any_tensor(shown))
            batches = [joined_inputs(shown, some_of(queries, group), dim=0) for group in groups]
            return torch.cat([self._forward(weights, b, target)[n_shown:] for b in batches])

        def predict(inputs: Inputs) -> Tensor:
            answers: Tensor = map_tasks(of_task, fast, support.inputs, inputs, method=self.task_map)
            return answers

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: ``½‖θ - θ'‖²`` with ``θ'`` held constant, whose gradient is ``θ - θ'``."""
        check_task_fits(self, episode.target)
        learned_from = episode.support
        if self.config.train_on == "all":
            learned_from = together(episode.support, episode.query)
        with torch.no_grad():
            ends, squares = self._descended(learned_from, episode.target, self.config.inner_steps)
        if self.moments is not None and self.training:
            self.moments.gather(squares, self.config.inner_steps)
        ways = [
            (weight - ends[name]).square().flatten(1).sum(1) / 2
            for name, weight in self.starting_weights().items()
        ]
        return torch.stack(ways).sum(0)

    def _descended(
        self, labelled: LabelledSet, target: Target, steps: int
    ) -> tuple[Weights, Weights]:
        """Weights of each task, and Adam's second moments where they are gathered."""
        loss, rate = self.loss_of_task(target), self.config.rate_for(target)

        def of_task(images: Inputs, labels: Tensor, order: Tensor) -> tuple[Weights, Weights]:
            adam = None if self.moments is None else self.moments.adam(rate)
            start, update = self.starting_weights(), adam or self._fresh_optimiser(rate)
            ends = descend_in_batches(loss, start, update, images, labels, order)
            return ends, adam.squares if adam else {}

        order = mini_batches(labelled, steps, self.config.inner_batch)
        ends, squares = map_tasks(
            of_task, labelled.inputs, labelled.labels, order, method=self.task_map
        )
        return dict(ends), dict(squares)

    def _fresh_optimiser(self, rate: float) -> Update:
        return fixed_rate(rate) if self.config.inner_optimiser == "sgd" else TaskAdam(rate)


class Moments(nn.Module):
    """Adam's second moments from training, a buffer for each weight, and the steps behind them.

    The authors' code hands them from task to task. Here tasks of a batch all start from the same,
    and their mean is kept: with one task a batch, that is theirs.
    """

    taken: Tensor

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.of_weight: dict[str, str] = {}
        self.register_buffer("taken", torch.zeros(()))
        for name, weight in weights.items():
            own = name.replace(".", "_")
            while hasattr(self, own):  # "a.weight" and "a_weight", or a weight that is "taken"
                own += "_"
            self.of_weight[name] = own
            self.register_buffer(own, torch.zeros_like(weight))

    def adam(self, rate: float) -> TaskAdam:
        """An optimiser for one task that begins with them."""
        return TaskAdam(rate, self._held(), self.taken)

    def gather(self, squares: Weights, steps: int) -> None:
        """Keep the mean over the tasks, whose moments have a first axis of tasks."""
        for name, held in self._held().items():
            held.copy_(squares[name].mean(0))
        self.taken += steps

    def _held(self) -> Weights:
        return {name: self.get_buffer(own) for name, own in self.of_weight.items()}


SPEC = whole_network_spec(
    Reptile,
    name="reptile",
    family="gradient",
    summary="an initialisation that moves towards the weights that tasks end in; no second order",
    paper="Nichol, Achiam and Schulman 2018, On First-Order Meta-Learning Algorithms",
    config=ReptileConfig,
    masks=True,
)
