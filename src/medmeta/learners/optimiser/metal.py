"""METAL: descent whose step is corrected by a network that reads each weight's situation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Episode, Inputs, LabelledSet, Target, some_of
from medmeta.learner import TrainingDefaults, check_task_fits
from medmeta.learners._inner_loop import LossOfTask, Weights
from medmeta.learners._mini_batches import together
from medmeta.learners.gradient._adapting import (
    AdaptingLearner,
    DescentConfig,
    Fitting,
    whole_network_spec,
)
from medmeta.learners.optimiser._folds_of_tasks import folds_of_tasks
from medmeta.learners.optimiser._unrolled import State, all_examples, unroll_tasks
from medmeta.task_loss import task_loss
from medmeta.tasks import map_tasks

SMALL = 1e-3  # gradients and weights well below it count as zero: only rounding would be told apart
OWN_SIGNALS, LAYER_SIGNALS = 2, 5


class METALConfig(DescentConfig):
    """Options of METAL.

    ``inner_rate`` is α, on the mean cross-entropy of the images adapted to (None: as of maml);
    ``proposal_weight`` is β. Both are where learning begins, or fixed with ``learn_rates=false``.
    ``proposal_unit``: what a proposal of 1 is, ``one``, or the root mean square of the layer's
    ``gradient``, so that proposals shrink with the gradients they correct.
    ``hidden``: size of the meta-network. ``train_on`` ``folds``: support and query together are
    split in ``folds`` stratified parts, a patient's images never apart where groups are known, and
    the loss is that on each part after adapting to the others; ``query``: the loss on the query
    after adapting to the support, as of maml.
    ``inner_steps`` while training, ``test_steps`` when adapting (None: the same). ``first_order``
    leaves out second derivatives. ``inner_checkpoint`` keeps less memory over several inner steps
    and computes them again in the backward pass. ``max_way`` is the size of the output layer:
    tasks of fewer classes use its first columns (None: the ways it is first built for).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=4)
    proposal_weight: float = Field(0.01, ge=0)
    proposal_unit: Literal["one", "gradient"] = "one"
    learn_rates: bool = True
    hidden: int = Field(128, ge=1, le=4096)
    train_on: Literal["folds", "query"] = "folds"
    folds: int = Field(2, ge=2, le=100)


class MetaNetwork(nn.Module):
    """Proposes an update in ``(-1, 1)`` for a single weight, the same way for all of them.

    One hidden layer with ReLU, tanh at the output. It reads the signals of ``normalised``, so its
    size knows no network's. It begins by proposing nothing.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        # Two parts of one layer: what is the same for a whole layer is multiplied once.
        self.of_weight = nn.Linear(OWN_SIGNALS, hidden, bias=False)
        self.of_layer = nn.Linear(LAYER_SIGNALS, hidden)
        self.output = nn.Linear(hidden, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, weight: Tensor, gradient: Tensor, loss: Tensor) -> Tensor:
        """Of a layer's weights and their gradients, and the task's loss: of the same shape."""
        own, shared = normalised(weight, gradient, loss)
        proposals: Tensor = self.output((self.of_weight(own) + self.of_layer(shared)).relu())
        return proposals.tanh().view(weight.shape)


class METAL(AdaptingLearner):
    """Adapts all weights by ``θ' = θ - α (∇L + β Δ)``; Δ is what the meta-network proposes.

    ``network`` maps ``(N, C, *space)`` to ``(N, outputs)``. The meta-network, α, β and the weights
    it starts from are learned by the cross-validated loss of tasks. Begins as MAML (Finn, Abbeel
    and Levine 2017); the learned optimiser is of the kind of Andrychowicz et al. 2016 and
    Metz et al. 2019, a network shared by all coordinates.
    """

    config: METALConfig

    def __init__(self, network: nn.Module, config: METALConfig, **fitting: Unpack[Fitting]) -> None:
        super().__init__(network, config, **fitting)
        self.first_rate = config.rate_for(fitting["target"])
        self.meta_network = MetaNetwork(config.hidden)
        # The logarithms of α and β over where they begin: both stay positive, β may begin at zero.
        self.log_factors = nn.Parameter(torch.zeros(2), requires_grad=config.learn_rates)
        self.traits = replace(self.traits, differentiable=not config.first_order)

    def adapted(self, support: LabelledSet, target: Target) -> Weights:
        """The weights after ``inner_steps``, or after ``test_steps`` in evaluation mode."""
        everything = all_examples(support.labels, 1)[:, 0]
        return self._adapted_to(support, everything, target)

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: the mean loss of all images, each after adapting to the folds without it."""
        if self.config.train_on == "query":
            return super().loss(episode)
        check_task_fits(self, episode.target)
        both = together(episode.support, episode.query)
        parts = []
        for fold in folds_of_tasks(both, episode.support.n_examples, self.config.folds):
            weights = self._adapted_to(both, fold.learned_from, episode.target, fold.learned_shares)
            loss, data = self._counted(both, fold.left_out_shares, episode.target)
            losses = map_tasks(_loss_of_some(loss), weights, fold.left_out, *data,
                               method=self.task_map)  # fmt: skip
            if fold.left_out_shares is None:
                losses = losses * (fold.left_out.shape[1] / both.n_examples)
            parts.append(losses)
        return torch.stack(parts).sum(0)

    def step(self, state: State, gradients: Weights, loss: Tensor) -> State:
        """``θ - α (∇L + β Δ)``."""
        rate_factor, proposal_factor = self.log_factors.exp()
        rate = self.first_rate * rate_factor
        share = self.config.proposal_weight * proposal_factor
        weights, memory = state
        after = {}
        for name, weight in weights.items():
            gradient = gradients[name]
            proposal = self.meta_network(weight, gradient, loss)
            if self.config.proposal_unit == "gradient":
                proposal = proposal * root_mean_square(gradient)
            after[name] = weight - rate * (gradient + share * proposal)
        return after, memory

    def _counted(
        self, labelled: LabelledSet, shares: Tensor | None, target: Target
    ) -> tuple[LossOfTask, tuple[Inputs, ...]]:
        """The mean loss of some images, or their sum by ``shares`` ``(T, N)``; what it reads."""
        if shares is None:
            return self.loss_of_task(target), (labelled.inputs, labelled.labels)

        def loss(weights: Weights, images: Inputs, labels: Tensor, counts: Tensor) -> Tensor:
            outputs = self._forward(weights, images, target)
            each = task_loss(outputs[:, None], labels[:, None], target)
            return (each * counts.to(each.dtype)).sum()

        return loss, (labelled.inputs, labelled.labels, shares)

    def _adapted_to(
        self, labelled: LabelledSet, chosen: Tensor, target: Target, shares: Tensor | None = None
    ) -> Weights:
        """To the images that ``chosen`` ``(T, n)`` names, each of which counts its share."""
        config = self.config
        steps = config.inner_steps
        if not self.training and config.test_steps is not None:
            steps = config.test_steps
        loss, data = self._counted(labelled, shares, target)
        return unroll_tasks(
            loss,
            self.step,
            (self.starting_weights(), {}),
            data,
            chosen[:, None].expand(-1, steps, -1),
            first_order=config.first_order,
            checkpointed=config.inner_checkpoint,
            learned=(*self.meta_network.parameters(), self.log_factors),
            method=self.task_map,
        )


def _loss_of_some(loss: LossOfTask) -> LossOfTask:
    """Of weights, the numbers of a task's images, and what the loss reads of all of them."""

    def of_some(weights: Weights, asked: Tensor, *parts: Inputs) -> Tensor:
        return loss(weights, *(some_of(part, asked) for part in parts))

    return of_some


def normalised(weight: Tensor, gradient: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """What the meta-network reads: of each weight ``(n, 2)``, and of its layer ``(5,)``.

    Gradient and weight, each over its root mean square in the layer; the task's loss L as
    L / (1 + L); of gradients and weights in the layer the logarithm of the root mean square, and
    the mean over the root mean square.

    >>> own, shared = normalised(torch.tensor([1.0, 7.0]), torch.zeros(2), torch.tensor(3.0))
    >>> own[:, 1], shared
    (tensor([0.2000, 1.4000]), tensor([ 0.7500, -1.0000,  0.2330,  0.0000,  0.8000]))
    """
    own = torch.stack([gradient.flatten(), weight.flatten()], 1)
    size = (own.square().mean(0) + SMALL**2).sqrt()
    signals = [loss[None] / (1 + loss), -size.log() / math.log(SMALL), own.mean(0) / size]
    return own / size, torch.cat(signals)


def root_mean_square(numbers: Tensor) -> Tensor:
    """Of all numbers of a layer, with a derivative at zero too.

    >>> round(root_mean_square(torch.tensor([3.0, -3.0])).item(), 4)
    3.0
    """
    return (numbers.square().mean() + torch.finfo(numbers.dtype).tiny).sqrt()


SPEC = whole_network_spec(
    METAL,
    name="metal",
    family="optimiser",
    summary="descent whose step is corrected by a network, trained by cross-validation in tasks",
    paper="steps as of Finn, Abbeel and Levine 2017, a network as of Andrychowicz et al. 2016",
    config=METALConfig,
)
