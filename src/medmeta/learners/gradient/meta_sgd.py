"""Meta-SGD: MAML that also learns how far each weight moves, and in which direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from medmeta.episode import Target
from medmeta.learner import TrainingDefaults
from medmeta.learners._inner_loop import Update
from medmeta.learners.gradient._adapting import (
    DescendingLearner,
    DescentConfig,
    Fitting,
    whole_network_spec,
)
from medmeta.learners.gradient._learned_rates import LearnedRates


class MetaSGDConfig(DescentConfig):
    """Options of Meta-SGD.

    ``inner_rate`` is where the learned rates begin, on the mean cross-entropy of the support
    (None: as of maml). ``inner_steps`` while training (the
    paper: one), ``test_steps`` when adapting (None: the same). ``first_order`` leaves out second
    derivatives. ``inner_checkpoint`` keeps less memory over several inner steps and computes them
    again in the backward pass. ``max_way`` is the size of the output layer: tasks of fewer classes
    use its first columns (None: the ways it is first built for).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=4)


class MetaSGD(DescendingLearner):
    """Adapts all weights, each with a rate of its own that is learned and may become negative.

    ``network`` maps ``(N, C, *space)`` to ``(N, outputs)``. Li, Zhou, Chen and Li 2017,
    equation 2 and algorithm 1: ``θ' = θ - α ∘ ∇L(θ)``, both θ and α learned.
    """

    config: MetaSGDConfig

    def __init__(
        self, network: nn.Module, config: MetaSGDConfig, **fitting: Unpack[Fitting]
    ) -> None:
        super().__init__(network, config, **fitting)
        self.rates = LearnedRates(self.starting_weights(), config.rate_for(fitting["target"]))

    def update(self, target: Target) -> Update:
        """``w - α ∘ g``."""
        return self.rates.update

    def learned_by_update(self) -> Sequence[Tensor]:
        """The rates."""
        return tuple(self.rates.parameters())


SPEC = whole_network_spec(
    MetaSGD,
    name="meta_sgd",
    family="gradient",
    summary="an initialisation and a rate for each weight, with which a step solves a new task",
    paper="Li, Zhou, Chen and Li 2017, Meta-SGD: Learning to Learn Quickly for Few-Shot Learning",
    config=MetaSGDConfig,
    masks=True,
)
