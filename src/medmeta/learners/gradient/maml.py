"""MAML: an initialisation from which a few gradient steps solve a new task."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from medmeta.encoders import (
    AbstractEncoder,
    keeps_running_statistics,
    uses_batch_statistics,
    uses_fused_batch_statistics,
)
from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.errors import SettingsError
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits, check_task_fits, task_loss
from medmeta.learners._inner_loop import Weights, descend_tasks, fixed_rate, trainable_weights
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.tasks import TaskMap, map_tasks

DEFAULT_RATE = {"classes": 0.4, "values": 0.01}


class MAMLConfig(EncodedConfig):
    """Options of MAML.

    ``inner_rate`` is on the MEAN cross-entropy of the support. (The paper's 0.4 for Omniglot is on
    a loss summed over the classes, so here it would be 0.4 times the number of ways.) None: 0.4 for
    classes, 0.01 for values, as in the paper's two experiments.
    ``inner_steps`` while training, ``test_steps`` when adapting (None: the same). ``first_order``
    leaves out second derivatives. ``inner_checkpoint`` keeps less memory over several inner steps
    and computes them again in the backward pass. ``max_way`` is the size of the output layer:
    tasks of fewer classes use its first columns (None: the ways it is first built for).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=4)
    inner_rate: float | None = Field(None, gt=0)
    inner_steps: int = Field(1, ge=1, le=1000)
    test_steps: int | None = Field(None, ge=0, le=1000)
    first_order: bool = False
    inner_checkpoint: bool = False
    max_way: int | None = Field(None, ge=2, le=1000)


class MAML(AbstractLearner):
    """Adapts all weights by gradient descent on the support; learns where it starts.

    ``network`` maps ``(N, C, *space)`` to ``(N, outputs)``. Finn, Abbeel and Levine 2017,
    algorithm 2; first order as in its section 5.2. ``coupled`` says that the network normalises
    by the batch at hand.
    """

    def __init__(
        self,
        network: nn.Module,
        config: MAMLConfig,
        *,
        target: Target,
        max_way: int,
        input_kind: str = "image",
        coupled: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        # Torch's own layer for batch statistics has a wrong second derivative under vmap.
        self.task_map: TaskMap | None = "loop" if uses_fused_batch_statistics(network) else None
        self.traits = Traits(
            transductive=coupled,
            maps_tasks=True,
            max_way=max_way if target.kind == "classes" else None,
            label_equivariant=False,
            targets=frozenset({target.kind}),
            input_kinds=frozenset({input_kind}),
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Take the inner steps; the predictor holds the weights of each task."""
        check_task_fits(self, target)
        config = self.config
        steps = config.inner_steps
        if not self.training and config.test_steps is not None:
            steps = config.test_steps
        rate = config.inner_rate or DEFAULT_RATE[target.kind]

        def support_loss(weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
            outputs = self._forward(weights, images, target)
            return task_loss(outputs[None], labels[None], target)[0]

        fast = descend_tasks(
            support_loss,
            trainable_weights(self.network),
            (any_tensor(support.inputs), support.labels),
            fixed_rate(rate),
            steps,
            first_order=config.first_order,
            checkpointed=config.inner_checkpoint,
            method=self.task_map,
        )

        def predict(inputs: Inputs) -> Tensor:
            outputs: Tensor = map_tasks(
                lambda weights, images: self._forward(weights, images, target),
                fast,
                any_tensor(inputs),
                method=self.task_map,
            )
            return outputs

        return predict

    def _forward(self, weights: Weights, images: Tensor, target: Target) -> Tensor:
        outputs: Tensor = functional_call(self.network, weights, (images,))
        return outputs[:, : target.size]


def _build(
    config: MAMLConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> MAML:
    if keeps_running_statistics(encoder):
        raise SettingsError(
            "maml takes no encoder with running statistics (norm=running): they cannot be kept "
            "within an inner loop. Use norm=group, or norm=batch as the paper did (transductive)."
        )
    outputs = max(config.max_way or 0, target.size)
    classifier = nn.Linear(encoder.embedding_size, outputs)
    torch.nn.init.zeros_(classifier.bias)
    return MAML(
        nn.Sequential(encoder, classifier),
        config,
        target=target,
        max_way=outputs,
        input_kind=input_spec.kind,
        coupled=uses_batch_statistics(encoder),
    )


SPEC = LearnerSpec(
    name="maml",
    family="gradient",
    summary="an initialisation from which a few gradient steps solve a new task",
    paper="Finn, Abbeel and Levine 2017, Model-Agnostic Meta-Learning",
    config=MAMLConfig,
    build=_build,
    default_norm="group",
)
