"""What learners that adapt a network's weights within the task share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict, Unpack, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from medmeta.encoders import (
    AbstractEncoder,
    convolution_of,
    dense_encoder,
    keeps_running_statistics,
    uses_batch_statistics,
    uses_fused_batch_statistics,
)
from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.learner import AbstractLearner, Traits, check_task_fits
from medmeta.learners._inner_loop import (
    LossOfTask,
    Update,
    Weights,
    descend_tasks,
    trainable_weights,
    weights_named,
)
from medmeta.learners._max_way import outputs_for
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.task_loss import task_loss
from medmeta.tasks import TaskMap, map_tasks

DEFAULT_RATE = {"classes": 0.4, "masks": 0.1, "values": 0.01}
FULL_RATE_SIZE = 64  # the embedding of Omniglot's network in the paper on MAML


def falling_rate(size: int) -> float:
    """The share of a rate that is left on embeddings of this size: beyond 64 numbers 64 / size.

    A step moves an output by the rate times the embedding's squared length, which grows with it.

    >>> falling_rate(40), falling_rate(128)
    (1.0, 0.5)
    """
    return min(1.0, FULL_RATE_SIZE / size)


class FixedLayerConfig(EncodedConfig):
    """Options of a network whose output layer is built once, for tasks of any fewer classes."""

    test_steps: int | None = Field(None, ge=0, le=1000)
    max_way: int | None = Field(None, ge=2, le=1000)

    def on_embedding(self, size: int, target: Target) -> FixedLayerConfig:
        """With what is left to the size of the embedding filled in."""
        del size, target
        return self


class DescentConfig(FixedLayerConfig):
    """Options of gradient descent within the task that is differentiated through."""

    inner_rate: float | None = Field(None, gt=0)
    inner_steps: int = Field(1, ge=1, le=1000)
    first_order: bool = False
    inner_checkpoint: bool = False

    def rate_for(self, target: Target) -> float:
        """``inner_rate``, or what stands for None where nothing is known of the network."""
        return self.inner_rate or DEFAULT_RATE[target.kind]

    def on_embedding(self, size: int, target: Target) -> DescentConfig:
        """With ``inner_rate`` filled in for an output layer on embeddings of this size.

        Beyond 64 numbers it falls as 64 / size, except for masks. For classes that is 0.032 for
        the 800 of miniImageNet's network, where the paper on MAML took 0.05.

        >>> DescentConfig().on_embedding(800, Target("classes", 5)).inner_rate
        0.032
        """
        falling = 1.0 if target.kind == "masks" else falling_rate(size)
        rate = self.inner_rate or self.rate_for(target) * falling
        return self.model_copy(update={"inner_rate": rate})


class Fitting(TypedDict):
    """What an adapted network is built for.

    ``coupled`` says that it normalises by the batch at hand.
    """

    target: Target
    max_way: int
    input_kind: NotRequired[str]
    coupled: NotRequired[bool]


class AdaptingLearner(AbstractLearner):
    """A network whose weights are adapted to each task.

    ``network`` maps ``(N, C, *space)`` to ``(N, outputs)``, for masks to ``(N, outputs, *space)``;
    a task of ``n_way`` classes uses its first columns. Those of its weights are adapted that are
    trainable when the learner is built, whatever they are later. A subclass writes ``adapted``.
    """

    def __init__(
        self, network: nn.Module, config: FixedLayerConfig, **fitting: Unpack[Fitting]
    ) -> None:
        super().__init__()
        self.network = network
        self.adapted_names = tuple(trainable_weights(network))
        self.config = config
        target = fitting["target"]
        # Torch's own layer for batch statistics has a wrong second derivative under vmap.
        self.task_map: TaskMap | None = "loop" if uses_fused_batch_statistics(network) else None
        self.traits = Traits(
            transductive=fitting.get("coupled", False),
            maps_tasks=True,
            max_way=None if target.kind == "values" else fitting["max_way"],
            label_equivariant=False,
            targets=frozenset({target.kind}),
            input_kinds=frozenset({fitting.get("input_kind", "image")}),
        )

    @abstractmethod
    def adapted(self, support: LabelledSet, target: Target) -> Weights:
        """The network's weights of each task, with a first axis of tasks."""

    def starting_weights(self) -> Weights:
        """The network's own weights that are adapted, not copies."""
        return weights_named(self.network, self.adapted_names)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Take the inner steps; the predictor holds the weights of each task."""
        check_task_fits(self, target, support)
        fast = self.adapted(support, target)

        def predict(inputs: Inputs) -> Tensor:
            outputs: Tensor = map_tasks(
                lambda weights, images: self._forward(weights, images, target),
                fast,
                inputs,
                method=self.task_map,
            )
            return outputs

        return predict

    def loss_of_task(self, target: Target) -> LossOfTask:
        """Of weights, inputs ``(S, ...)`` and labels of one task: the mean loss."""

        def loss(weights: Weights, images: Inputs, labels: Tensor) -> Tensor:
            outputs = self._forward(weights, images, target)
            return task_loss(outputs[None], labels[None], target)[0]

        return loss

    def _forward(self, weights: Weights, images: Inputs, target: Target) -> Tensor:
        outputs: Tensor = functional_call(self.network, weights, (images,))
        return outputs[:, : target.size]


class DescendingLearner(AdaptingLearner):
    """Adapts by steps that are differentiated through; a subclass writes ``update``."""

    config: DescentConfig

    def __init__(
        self, network: nn.Module, config: DescentConfig, **fitting: Unpack[Fitting]
    ) -> None:
        super().__init__(network, config, **fitting)
        # Of the first order the support's images count as constants, as all gradients do.
        self.traits = replace(self.traits, differentiable=not config.first_order)

    @abstractmethod
    def update(self, target: Target) -> Update:
        """The rule of the inner steps."""

    def learned_by_update(self) -> Sequence[Tensor]:
        """The parameters that ``update`` reads."""
        return ()

    def adapted(self, support: LabelledSet, target: Target) -> Weights:
        """The weights after ``inner_steps``, or after ``test_steps`` in evaluation mode."""
        config = self.config
        steps = config.inner_steps
        if not self.training and config.test_steps is not None:
            steps = config.test_steps
        return descend_tasks(
            self.loss_of_task(target),
            self.starting_weights(),
            (support.inputs, support.labels),
            self.update(target),
            steps,
            first_order=config.first_order,
            checkpointed=config.inner_checkpoint,
            learned=self.learned_by_update(),
            method=self.task_map,
        )


def output_layer(name: str, config: FixedLayerConfig, size: int, target: Target) -> nn.Linear:
    """A fresh last layer for ``max_way`` classes, or for the target's values; its bias is zero."""
    layer = nn.Linear(size, outputs_for(name, config.max_way, target))
    torch.nn.init.zeros_(layer.bias)
    return layer


def n_outputs(layer: nn.Module) -> int:
    """How many classes or values a last layer has outputs for."""
    return len(cast(Tensor, layer.weight))


class EveryPixel(nn.Module):
    """What an encoder says of every pixel; raises ``UnsupportedTaskError`` where nothing."""

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = dense_encoder(encoder)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(N, C, *space)`` to ``(N, D, *space)``."""
        return self.encoder.dense(inputs)


def whole_network_spec(
    learner: Callable[..., AdaptingLearner],
    *,
    name: str,
    family: str,
    summary: str,
    paper: str,
    config: type[FixedLayerConfig],
    tunes: bool = False,
    tried: Sequence[Mapping[str, Any]] = (),
    masks: bool = False,
) -> LearnerSpec:
    """A learner that adapts the whole network: an encoder with an output layer.

    ``tunes``: on a trained encoder, whose running statistics it leaves as they are. ``masks``: also
    one that answers for every pixel.
    """

    def build(
        settings: Any, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
    ) -> AdaptingLearner:
        if target.kind == "masks" and not masks:
            raise UnsupportedTaskError(f"{name} takes no masks.", wanted="masks")
        encoder = encoder.tunable if tunes else encoder
        network = whole_network(
            name, settings, encoder, target, axes=len(input_spec.size), holds_statistics=tunes
        )
        return learner(
            network,
            settings.on_embedding(encoder.embedding_size, target),
            target=target,
            max_way=n_outputs(network[-1]),
            input_kind=input_spec.kind,
            coupled=uses_batch_statistics(encoder),
        )

    return LearnerSpec(
        name, family, summary, paper, config, build,
        default_norm="group", tunes=tunes, tried=tuple(tried),
    )  # fmt: skip


def whole_network(
    name: str,
    config: FixedLayerConfig,
    encoder: AbstractEncoder,
    target: Target,
    *,
    axes: int = 2,
    holds_statistics: bool = False,
) -> nn.Sequential:
    """The encoder with an output layer, all of it to be adapted.

    Masks have so many ``axes`` of space.
    Raises ``SettingsError`` where the encoder keeps running statistics, unless the learner leaves
    them as they are (``holds_statistics``).
    """
    if keeps_running_statistics(encoder) and not holds_statistics:
        raise SettingsError(
            f"{name} takes no encoder with running statistics (norm=running): they cannot be kept "
            "within an inner loop. Use norm=group, or norm=batch as the paper did (transductive)."
        )
    if target.kind == "masks":
        every = EveryPixel(encoder)
        outputs = outputs_for(name, config.max_way, target)
        last = convolution_of(axes)(every.encoder.dense_size, outputs, 1)
        return nn.Sequential(every, last)
    return nn.Sequential(encoder, output_layer(name, config, encoder.embedding_size, target))
