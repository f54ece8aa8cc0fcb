"""A U-Net whose last layer is solved on the support, and which then goes on learning there."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from medmeta.encoders import AbstractEncoder, DenseEncoder, EncoderConfig, build_encoder
from medmeta.episode import (
    Episode,
    Inputs,
    InputSpec,
    LabelledSet,
    Predictor,
    Target,
    any_tensor,
)
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits, check_target, check_task_fits
from medmeta.learners._adam import TaskAdam
from medmeta.learners._inner_loop import Weights, trainable_weights, weights_named
from medmeta.learners._mini_batches import descend_in_batches, mini_batches
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.learners.gradient._adapting import EveryPixel
from medmeta.learners.segmentation._parts import MASKS, in_parts, pixel_encoder
from medmeta.learners.segmentation._pixels import SCALE, PixelRidge, fit_ridge, random_weights
from medmeta.task_loss import task_loss

HEAD = "head"  # the name of the solved layer among a task's weights


class RidgeUNetConfig(EncodedConfig):
    """Options of the U-Net with a solved last layer.

    ``random_features`` and ``penalty`` are those of the ridge regression on pixels. ``test_steps``
    of Adam (without momentum) at ``rate`` follow it when adapting, on ``batch`` images each; while
    training there are none. ``focal`` is the focal loss's exponent (0: cross-entropy).
    """

    training_defaults = TrainingDefaults(learning_rate=2e-3, tasks_per_step=4)
    random_features: int = Field(48, ge=0, le=1000)
    penalty: float = Field(1e-3, gt=0)
    test_steps: int = Field(40, ge=0, le=1000)
    rate: float = Field(5e-3, gt=0)
    batch: int | None = Field(4, ge=1)
    focal: float = Field(0.0, ge=0, le=10)


class RidgeUNet(AbstractLearner):
    """Ridge regression on a U-Net's pixels and on filters, trained through; then a few steps.

    Across tasks it learns features on which a regression in closed form succeeds: R2-D2
    (Bertinetto et al. 2019, section 3) for each pixel. Within a task that regression is the last
    layer to begin with, and all weights go down from there, as Proto-MAML begins with prototypes
    (Triantafillou et al. 2020, section 3). The filters stand beside the network's features, so that
    untrained it is the regression on filters.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        filters: DenseEncoder,
        config: RidgeUNetConfig,
        *,
        input_kind: str = "image",
    ) -> None:
        super().__init__()
        self.network = EveryPixel(pixel_encoder(encoder))
        self.adapted_names = tuple(trainable_weights(self.network))
        self.filters = filters.requires_grad_(False)
        self.config = config
        size = self.network.encoder.dense_size + filters.dense_size
        hidden = random_weights(size, config.random_features, seed=0)
        self.register_buffer("hidden", hidden)
        self.traits = Traits(
            trainable=any(p.requires_grad for p in encoder.parameters()),
            order_free=config.batch is None,
            label_equivariant=False,
            differentiable=False,
            targets=MASKS,
            input_kinds=frozenset({input_kind}),
        )

    hidden: Tensor

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Solve the last layer, then descend; the predictor holds each task's weights."""
        check_task_fits(self, target, support)
        steps = 0 if self.training else self.config.test_steps
        start = weights_named(self.network, self.adapted_names)
        images = any_tensor(support.inputs)
        fixed = self._filtered(images)
        solved = fit_ridge(
            self._features(start, images, fixed), support.labels, target.size, self.hidden,
            penalty=self.config.penalty,
        )  # fmt: skip
        if not steps:
            return lambda inputs: in_parts(
                partial(self._answer, solved, start), any_tensor(inputs), 1
            )
        order = mini_batches(support, steps, self.config.batch)
        tasks = [
            self._descended(_of_task(solved, t), start, (images[t], fixed[t]), labels, order[t])
            for t, labels in enumerate(support.labels)
        ]

        def predict(inputs: Inputs) -> Tensor:
            answers = [
                in_parts(partial(self._answer, *task), one[None], 1)
                for task, one in zip(tasks, any_tensor(inputs), strict=True)
            ]
            return torch.cat(answers)

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: the query's loss."""
        answers = self.adapt(episode.support, episode.target)(episode.query.inputs)
        return task_loss(answers, episode.query.labels, episode.target, focal=self.config.focal)

    @torch.no_grad()
    def _descended(
        self,
        solved: PixelRidge,
        start: Weights,
        shown: tuple[Tensor, Tensor],
        labels: Tensor,
        order: Tensor,
    ) -> tuple[PixelRidge, Weights]:
        """One task's last layer and weights after a step on each batch of ``order``.

        ``shown``: the support's images ``(S, C, *space)`` and what the filters say of them.
        """
        target = Target("masks", solved.weights.shape[1])

        def loss(weights: Weights, chosen: Inputs, marked: Tensor) -> Tensor:
            own = replace(solved, weights=weights[HEAD])
            images, fixed = (part[any_tensor(chosen)][None] for part in shown)
            answers = self._scores(own, weights, images, fixed)
            return task_loss(answers, marked[None], target, focal=self.config.focal)[0]

        begun = {**start, HEAD: solved.weights}
        update, every = TaskAdam(self.config.rate), torch.arange(len(labels))
        ends = descend_in_batches(loss, begun, update, every.to(labels), labels, order)
        return replace(solved, weights=ends.pop(HEAD)), ends

    def _answer(self, solved: PixelRidge, weights: Weights, images: Tensor) -> Tensor:
        return self._scores(solved, weights, images, self._filtered(images))

    def _scores(
        self, solved: PixelRidge, weights: Weights, images: Tensor, fixed: Tensor
    ) -> Tensor:
        """``(T, Q, C, *space)`` to logits ``(T, Q, size, *space)``."""
        return SCALE * solved.scores(self._features(weights, images, fixed))

    def _filtered(self, images: Tensor) -> Tensor:
        return _by_task(self.filters.dense(images.flatten(0, 1)), images)

    def _features(self, weights: Weights, images: Tensor, fixed: Tensor) -> Tensor:
        """The network's features and the filters', ``(T, n, D, *space)``."""
        known = {name: weight for name, weight in weights.items() if name != HEAD}
        learned: Tensor = functional_call(self.network, known, (images.flatten(0, 1),))
        return torch.cat([_by_task(learned, images), fixed], dim=2)


def _by_task(found: Tensor, images: Tensor) -> Tensor:
    return found.reshape(*images.shape[:2], *found.shape[1:])


def _of_task(solved: PixelRidge, task: int) -> PixelRidge:
    one = slice(task, task + 1)
    return PixelRidge(solved.mean[one], solved.spread[one], solved.hidden, solved.weights[one])


def filters_for(input_spec: InputSpec) -> DenseEncoder:
    """The filters that stand beside a network's features."""
    return pixel_encoder(build_encoder(EncoderConfig(name="filters"), input_spec, norm="none"))


def _build(
    config: RidgeUNetConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> RidgeUNet:
    check_target("ridge_unet", MASKS, target)
    return RidgeUNet(encoder, filters_for(input_spec), config, input_kind=input_spec.kind)


SPEC = LearnerSpec(
    name="ridge_unet",
    family="segmentation",
    summary="a U-Net whose last layer is solved on the support, and which then goes on learning",
    paper="Bertinetto et al. 2019, Meta-learning with Differentiable Closed-form Solvers; "
    "Triantafillou et al. 2020, Meta-Dataset (Proto-MAML)",
    config=RidgeUNetConfig,
    build=_build,
    default_norm="group",
)
