"""The contract: a learner turns a support set into a predictor, and never changes itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from medmeta.episode import (
    Episode,
    Inputs,
    InputSpec,
    LabelledSet,
    Predictor,
    Target,
    TargetKind,
)
from medmeta.errors import UnsupportedTaskError
from medmeta.settings import Settings
from medmeta.task_loss import task_loss

OptimiserName = Literal["adam", "adamw", "sgd"]


@dataclass(frozen=True)
class Traits:
    """What a learner can do, as data of the instance: nobody asks for its class.

    ``trainable``: ``loss`` has a gradient. ``transductive``: a query's logits depend on the other
    queries. ``max_way``: most classes it takes (None: any number). ``order_free``: the order of
    the support does not matter. ``label_equivariant``: relabelling the classes permutes the
    logits. ``differentiable``: logits have a gradient with respect to the support. ``targets`` and
    ``input_kinds``: what it takes. ``has_head``: it is an encoder with a learner over embeddings
    (``HeadedLearner``). ``chooses``: ``settled`` makes choices about a task. ``maps_tasks``: it
    lifts one task over the batch by ``map_tasks``, and in training too no task touches another, so
    that a batch may be cut up. ``one_graph``: learning and answering are one graph of torch's
    operators for any number of classes and images, as ONNX can hold it. ``name``: what messages
    call it, by the registry; empty where it is not registered.
    """

    trainable: bool = True
    transductive: bool = False
    max_way: int | None = None
    order_free: bool = True
    label_equivariant: bool = True
    differentiable: bool = True
    targets: frozenset[TargetKind] = frozenset({"classes"})
    input_kinds: frozenset[str] = frozenset({"image"})
    has_head: bool = False
    chooses: bool = False
    maps_tasks: bool = False
    one_graph: bool = False
    name: str = ""


class AbstractLearner(nn.Module, ABC):
    """Carries what was learned across tasks; its parameters are exactly that.

    A subclass sets ``traits`` and writes ``adapt``; it may replace ``loss``.
    """

    traits: Traits

    @abstractmethod
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Learn ``T`` tasks from their support sets. Never changes ``self``.

        All that was learned within the tasks lives in the predictor that is returned.
        """

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: the gradient of its mean is the meta-update.

        By default the loss of ``adapt(support)(query)``: cross-entropy or squared error.
        """
        predictor = self.adapt(episode.support, episode.target)
        return task_loss(predictor(episode.query.inputs), episode.query.labels, episode.target)

    def settled(
        self, support: LabelledSet, target: Target, *, seconds: float | None = None
    ) -> Settled:
        """The learner with its choices about one task made, in so many seconds (0: no search)."""
        return Settled(self)


@dataclass(frozen=True)
class Settled:
    """A learner whose choices about one task are made, and the ``options`` that rebuild it.

    ``record``: as JSON, what there was to choose from, what was chosen and why. ``procedure``
    chooses again by other images, where the support had a part in the choice.
    ``support_embeddings``: what the support was encoded to on the way, for ``adapt_task``.
    """

    learner: AbstractLearner
    options: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    procedure: AbstractLearner | None = None
    support_embeddings: Tensor | None = None

    def within(self, wrap: Callable[[AbstractLearner], AbstractLearner]) -> Settled:
        """The same of what wraps this learner."""
        again = self.procedure and wrap(self.procedure)
        return replace(self, learner=wrap(self.learner), procedure=again, support_embeddings=None)


class HeadedLearner(AbstractLearner):
    """An encoder with a head, which is itself a learner over embeddings ``(T, S, D)``.

    So an image can be encoded once and be used by thousands of tasks, unless the encoder is
    ``coupled``: it looks at a batch's images together.
    """

    head: AbstractLearner
    coupled: bool = False

    @abstractmethod
    def encode(self, inputs: Inputs) -> Tensor:
        """Inputs ``(T, S, ...)`` to embeddings ``(T, S, D)``."""


@dataclass(frozen=True)
class TrainingDefaults:
    """How a method is trained unless the user says otherwise.

    ``clip_norm`` 0 leaves the gradient as it is: right where it is no gradient of a loss.
    """

    optimiser: OptimiserName = "adam"
    learning_rate: float = 1e-3
    tasks_per_step: int = 1
    clip_norm: float = 10.0


class LearnerConfig(Settings):
    """Base of learners' configurations: what stands in ``--set``, in TOML files and in cards."""

    training_defaults: ClassVar[TrainingDefaults] = TrainingDefaults()


@dataclass(frozen=True)
class AdaptedTask:
    """One learner on one task batch: what trust and explanation take. A value.

    Where the learner has a head, ``support_embeddings`` ``(T, S, D)`` are cached and
    ``head_predictor`` answers embeddings; both are None elsewhere. ``procedure``: what settled the
    learner's choices by this support, if anything did; it answers for images held out.
    """

    learner: AbstractLearner
    support: LabelledSet
    target: Target
    predictor: Predictor
    support_embeddings: Tensor | None = None
    head_predictor: Predictor | None = None
    procedure: AbstractLearner | None = None


def adapt_task(
    learner: AbstractLearner,
    support: LabelledSet,
    target: Target,
    *,
    embeddings: Tensor | None = None,
) -> AdaptedTask:
    """Adapt, and keep what was encoded on the way; ``embeddings`` of the support where known.

    Raises ``UnsupportedTaskError`` where the learner does not take such a task, or where a class
    has no image.
    """
    check_task_fits(learner, target, support)
    if target.kind == "classes":
        _check_classes(name_of(learner), target, support.labels)
    if not learner.traits.has_head:
        return AdaptedTask(learner, support, target, learner.adapt(support, target))
    headed = cast(HeadedLearner, learner)
    if embeddings is None:
        embeddings = headed.encode(support.inputs)
    head_predictor = headed.head.adapt(support.with_inputs(embeddings), target)
    return AdaptedTask(
        learner,
        support,
        target,
        lambda inputs: head_predictor(headed.encode(inputs)),
        embeddings,
        head_predictor,
    )


def check_task_fits(
    learner: AbstractLearner, target: Target, support: LabelledSet | None = None
) -> None:
    """Raise ``UnsupportedTaskError`` where the learner does not take this kind or size of task.

    With ``support``, also where its labels are not of the target's kind, or its inputs of another
    kind than the learner takes. Only shapes are looked at, so nothing waits for a device.
    """
    name, traits = name_of(learner), learner.traits
    check_target(name, traits.targets, target)
    if target.kind == "classes" and target.size < 2:
        raise UnsupportedTaskError(
            f"{name} tells at least two classes apart, and this task has {target.size}. Give "
            "images of another class, or values if there is something to measure."
        )
    if traits.max_way is not None and target.size > traits.max_way:
        raise UnsupportedTaskError(
            f"{name} was built for at most {traits.max_way} classes, and this task has "
            f"{target.size}. Use fewer classes, train it with --set max_way={target.size}, or "
            "use a learner without a fixed output layer.",
            wanted="any way",
        )
    if support is not None:
        _check_labels(name, target, support.labels)
        spec = spec_of(support.inputs)
        check_input_fits(traits, spec, name=name)
        if target.kind == "masks" and tuple(support.labels.shape[2:]) != spec.size:
            raise UnsupportedTaskError(
                f"{name} was given masks of {tuple(support.labels.shape[2:])} on inputs of "
                f"{spec.size}; a mask lies on its image place by place."
            )


def check_target(name: str, targets: Collection[TargetKind], target: Target) -> None:
    """Raise ``UnsupportedTaskError`` where a learner of this name takes other targets only."""
    if target.kind not in targets:
        raise UnsupportedTaskError(
            f"{name} takes {' and '.join(sorted(targets))}, not {target.kind}; "
            "'medmeta learners' lists what takes them.",
            wanted=target.kind,
        )


def _check_classes(name: str, target: Target, labels: Tensor) -> None:
    """Every class has an image in every task: ``labels`` ``(T, S)``."""
    classes = torch.arange(target.size, device=labels.device)
    missing = ~(labels[..., None] == classes).any(1)
    if bool(missing.any()):
        task, number = (int(found[0]) for found in missing.nonzero(as_tuple=True))
        raise UnsupportedTaskError(
            f"{name} learns {target.size} classes from images of each, and the support of task "
            f"{task} has none of class {number}; add some, or ask for fewer classes."
        )


def _check_labels(name: str, target: Target, labels: Tensor) -> None:
    """One class, some values or one mask for each image of a task."""
    fits = {
        "classes": labels.ndim == 2,
        "values": labels.ndim == 3 and labels.shape[2] == target.size,
        "masks": labels.ndim >= 3 and not labels.is_floating_point(),
    }
    if fits[target.kind]:
        return
    wanted = {"classes": "(T, S)", "values": f"(T, S, {target.size})", "masks": "(T, S, *space)"}
    dense = target.kind == "classes" and labels.ndim > 3
    raise UnsupportedTaskError(
        f"{name} was asked for {target.kind}, whose labels are {wanted[target.kind]}, and was "
        f"given labels of {tuple(labels.shape)}."
        + (" Labels of pixels are a task of masks." if dense else ""),
        wanted="masks" if dense else target.kind,
    )


def name_of(learner: AbstractLearner) -> str:
    """What a message calls a learner: its registered name, else its class or that of its head."""
    if learner.traits.name:
        return learner.traits.name
    told = cast(HeadedLearner, learner).head if learner.traits.has_head else learner
    return type(told).__name__


def spec_of(inputs: Inputs) -> InputSpec:
    """The shape of one input, of tensors ``(T, S, C, *space)``.

    Raises ``UnsupportedTaskError`` where they have fewer or more axes.
    """
    if not isinstance(inputs, Tensor):
        return InputSpec(0, (), tuple((name, spec_of(part)) for name, part in inputs.items()))
    if not 3 <= inputs.ndim <= 6:
        raise UnsupportedTaskError(
            f"inputs are (T, S, C, *space), with up to three axes of space; these have the shape "
            f"{tuple(inputs.shape)}."
        )
    return InputSpec(inputs.shape[2], tuple(inputs.shape[3:]))


def check_input_fits(traits: Traits, spec: InputSpec, *, name: str) -> None:
    """Raise ``UnsupportedTaskError`` where a learner does not take inputs of this kind."""
    if spec.kind not in traits.input_kinds:
        takes = " and ".join(sorted(traits.input_kinds))
        raise UnsupportedTaskError(f"{name} takes inputs of kind {takes}, not {spec.kind}.")
