"""Small faulty learners: each breaks the contract in one way, and must fail that very check.

All are nearest-mean classifiers of vectors with a learned scale, like ``Honest``, which keeps the
contract; each says in its name what it does instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmeta.episode import Episode, Inputs, LabelledSet, Predictor, Target, any_tensor
from medmeta.errors import UnsupportedTaskError
from medmeta.learner import AbstractLearner, Traits

SIZE = 16  # numbers in an input vector
VECTORS = Traits(input_kinds=frozenset({"vector"}))
CONTROLS: dict[str, tuple[str, Callable[[], AbstractLearner]]] = {}


class Honest(AbstractLearner):
    """Minus the squared distance to the class means, times a learned scale."""

    traits = VECTORS

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.1))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        means = self.means(any_tensor(support.inputs), support.labels, target.size)
        return lambda inputs: self.compare(any_tensor(inputs), means)

    def means(self, images: Tensor, labels: Tensor, n_way: int) -> Tensor:
        members = F.one_hot(labels, n_way).float()
        return members.mT @ images / members.sum(1)[..., None]

    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return -self.scale * (queries[:, :, None] - means[:, None]).square().sum(-1)


Control = type[AbstractLearner]


def control(check: str) -> Callable[[Control], Control]:
    """Register a faulty learner with the check that it must fail."""

    def register(faulty: Control) -> Control:
        CONTROLS[faulty.__name__] = (check, faulty)
        return faulty

    return register


@control("adapt_changes_nothing")
class KeepsItsSupportOnSelf(Honest):
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        self.support = support
        return super().adapt(support, target)


@control("adapt_changes_nothing")
class RemembersInAList(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.memory: list[Tensor] = []

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        self.memory.append(support.labels)
        return super().adapt(support, target)


@control("adapt_changes_nothing")
class KeepsStateOnAPart(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Identity()

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        self.part.seen = support.n_examples  # type: ignore[assignment]
        return super().adapt(support, target)


@control("adapt_changes_nothing")
class OverwritesItsBuffer(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running", torch.zeros(SIZE))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        self.get_buffer("running").lerp_(any_tensor(support.inputs).mean((0, 1)), 0.1)
        return super().adapt(support, target)


@control("adapt_changes_nothing")
class OverwritesAHiddenBuffer(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running", torch.zeros(SIZE), persistent=False)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        self.get_buffer("running").copy_(any_tensor(support.inputs)[0, 0])
        return super().adapt(support, target)


@control("adapt_changes_nothing")
class OverwritesAnArray(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.counts = np.zeros(3)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        self.counts += 1
        return super().adapt(support, target)


@control("adapt_changes_nothing")
class LeavesGradients(Honest):
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        predictor = super().adapt(support, target)
        logits = predictor(support.inputs).flatten(0, 1)
        if logits.requires_grad:
            F.cross_entropy(logits, support.labels.flatten()).backward()  # type: ignore[no-untyped-call]
        return predictor


@control("adapt_changes_nothing")
class StaysInTrainingMode(Honest):
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        self.train()
        return super().adapt(support, target)


@control("adapt_changes_nothing")
class OverwritesTheImages(Honest):
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        any_tensor(support.inputs).mul_(1.5)
        return super().adapt(support, target)


@control("adapt_changes_nothing")
class OverwritesTheQueries(Honest):
    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return super().compare(queries.clamp_(-2, 2), means)


@control("adapt_changes_nothing")
class OverwritesTheLabels(Honest):
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        predictor = super().adapt(support, target)
        support.labels.zero_()
        return predictor


@control("answers_have_the_right_shape")
class PutsClassesSecond(Honest):
    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return super().compare(queries, means).mT


@control("answers_have_the_right_shape")
class AddsAnAxis(Honest):
    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return super().compare(queries, means)[..., None]


@control("answers_have_the_right_shape")
class IsNotFinite(Honest):
    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return super().compare(queries, means).sqrt()  # of negative numbers


@control("answers_have_the_right_shape")
class AnswersWithWholeNumbers(Honest):
    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return super().compare(queries, means).round().long()


@control("works_without_gradients")
class NeedsAutograd(Honest):
    """Takes its step with ``autograd.grad``, which does nothing under ``no_grad``."""

    def means(self, images: Tensor, labels: Tensor, n_way: int) -> Tensor:
        means = super().means(images, labels, n_way)
        start = means.detach().requires_grad_() if not means.requires_grad else means
        loss = (start - images.mean(1, keepdim=True)).square().sum()
        return start - 0.1 * torch.autograd.grad(loss, start)[0]


@control("works_without_gradients")
class AnswersOtherwiseWithoutGradients(Honest):
    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        logits = super().compare(queries, means)
        return logits if torch.is_grad_enabled() else logits * 1.1


@control("works_without_gradients")
class MarksItsInputs(Honest):
    """Asks the images for a gradient, which tensors of inference mode refuse."""

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        with torch.enable_grad():
            images = any_tensor(support.inputs).detach().requires_grad_()
            loss = images.square().sum()
        images = images - 0.1 * torch.autograd.grad(loss, images)[0]
        return super().adapt(support.with_inputs(images), target)


@control("predictors_are_values")
class SharesOneStore(AbstractLearner):
    """Its predictors read a store outside of it, which the next support overwrites."""

    traits = VECTORS
    store: dict[str, Tensor] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.inner = Honest()

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        images = any_tensor(support.inputs)
        self.store["means"] = self.inner.means(images, support.labels, target.size)
        return lambda inputs: self.inner.compare(any_tensor(inputs), self.store["means"])


@control("predictors_are_values")
class GuessesWhenAsked(Honest):
    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        logits = super().compare(queries, means)
        return logits + 1e-6 * torch.randn(logits.shape)


@control("predictors_are_values")
class DrawsWhenAdapting(Honest):
    def means(self, images: Tensor, labels: Tensor, n_way: int) -> Tensor:
        means = super().means(images, labels, n_way)
        return means + 1e-6 * torch.randn(means.shape)


@control("predictors_are_values")
class ResetsGlobalChance(Honest):
    """Its own answers repeat, but whatever is drawn after it repeats too."""

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        torch.manual_seed(int(support.task_ids[0]))
        return super().adapt(support, target)


@control("one_task_at_a_time")
class NormalisesOverTasks(Honest):
    def means(self, images: Tensor, labels: Tensor, n_way: int) -> Tensor:
        return super().means(images - images.mean((0, 1)), labels, n_way)


@control("queries_do_not_help_each_other")
class CentresTheQueries(Honest):
    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return super().compare(queries - queries.mean(1, keepdim=True), means)


@control("support_order_does_not_matter")
class TrustsTheFirstMore(Honest):
    def means(self, images: Tensor, labels: Tensor, n_way: int) -> Tensor:
        trust = torch.linspace(1, 0.5, images.shape[1])[None, :, None]
        return super().means(images * trust, labels, n_way)


@control("relabelling_permutes_logits")
class PrefersTheFirstClass(Honest):
    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        logits = super().compare(queries, means)
        return logits + 0.1 * F.one_hot(torch.tensor(0), logits.shape[-1])


def in_order_of_class(images: Tensor, labels: Tensor) -> Tensor:
    order = labels.argsort(dim=1, stable=True)
    return images.gather(1, order[..., None].expand_as(images))


@control("shots_may_be_uneven")
class CountsOnEvenShots(Honest):
    def means(self, images: Tensor, labels: Tensor, n_way: int) -> Tensor:
        n_tasks, n_examples, size = images.shape
        ordered = in_order_of_class(images, labels)
        return ordered.reshape(n_tasks, n_way, n_examples // n_way, size).mean(2)


@control("shots_may_be_uneven")
class RefusesUnevenShots(CountsOnEvenShots):
    """Says so in medmeta's own words, and breaks the contract all the same."""

    def means(self, images: Tensor, labels: Tensor, n_way: int) -> Tensor:
        if images.shape[1] % n_way:
            raise UnsupportedTaskError("all classes need as many images.")
        return super().means(images, labels, n_way)


@control("shots_may_be_uneven")
class HasNoSpreadOfOneImage(Honest):
    """Divides by the spread within each class, which one image has not."""

    def means(self, images: Tensor, labels: Tensor, n_way: int) -> Tensor:
        means = super().means(images, labels, n_way)
        members = F.one_hot(labels, n_way).float()
        squares = members.mT @ images.square() - members.sum(1)[..., None] * means.square()
        spread = squares.sum(-1) / (members.sum(1) - 1)
        return means + 0 * spread[..., None]


@control("loss_is_per_task")
class LossIsOneNumber(Honest):
    def loss(self, episode: Episode) -> Tensor:
        return super().loss(episode).mean()


@control("loss_is_per_task")
class LossIsTheBatchs(Honest):
    """One number per task, but all the same: the mean over the batch."""

    def loss(self, episode: Episode) -> Tensor:
        loss = super().loss(episode)
        return loss.mean().expand_as(loss)


@control("loss_is_per_task")
class LossIsInfinite(Honest):
    def loss(self, episode: Episode) -> Tensor:
        return super().loss(episode) / 0


@control("loss_is_per_task")
class LossHasNoGradient(Honest):
    def loss(self, episode: Episode) -> Tensor:
        return super().loss(episode).detach()


@control("loss_is_per_task")
class GradientIsInfinite(Honest):
    """The loss is finite; the gradient of its square root at zero is not."""

    def loss(self, episode: Episode) -> Tensor:
        return super().loss(episode) + (self.scale - self.scale.detach()).abs().sqrt()


@control("loss_is_per_task")
class TrainsThoughNotTrainable(Honest):
    traits = replace(VECTORS, trainable=False)


@control("survives_a_round_trip")
class HidesAMatrix(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.eye(SIZE)

    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return super().compare(queries @ self.matrix, means @ self.matrix)


@control("survives_a_round_trip")
class HidesALayerInAList(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(SIZE, SIZE)]

    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return super().compare(self.layers[0](queries), self.layers[0](means))


@control("survives_a_round_trip")
class LosesAWeightOnTheWay(Honest):
    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        state["scale"] = torch.ones_like(state["scale"])
        return state


@control("refuses_what_it_cannot_take")
class AcceptsMoreThanItSays(Honest):
    traits = replace(VECTORS, max_way=4)


@control("beats_chance")
class IgnoresItsSupport(Honest):
    """A fixed linear answer: it can be trained, and never knows the task."""

    traits = replace(VECTORS, label_equivariant=False)

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, 3)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        def predict(inputs: Inputs) -> Tensor:
            logits: Tensor = self.linear(any_tensor(inputs))
            return logits

        return predict


@control("beats_chance")
class SaysTheOpposite(Honest):
    """Its loss looks away from what it answers, so that training mends nothing."""

    def compare(self, queries: Tensor, means: Tensor) -> Tensor:
        return -super().compare(queries, means)

    def loss(self, episode: Episode) -> Tensor:
        return (self.scale - 0.1 * (1 + episode.query.task_ids.remainder(2))).square()
