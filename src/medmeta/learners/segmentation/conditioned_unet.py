"""A U-Net whose layers mix the query with a support set of any size: no step within the task."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.encoders import AbstractEncoder, averaged, convolution_of, resized
from medmeta.episode import Episode, Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import (
    AbstractLearner,
    TrainingDefaults,
    Traits,
    check_target,
    check_task_fits,
)
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.learners.segmentation._parts import MASKS, in_parts, pixel_encoder
from medmeta.learners.segmentation._pixels import SCALE, PixelRidge, fit_ridge, random_weights
from medmeta.task_loss import task_loss


class ConditionedUNetConfig(EncodedConfig):
    """Options of the conditioned U-Net.

    ``width`` features in each of ``levels`` cross-convolution blocks. ``encoder`` gives the
    features of the ridge regression whose answer is shown to the network; ``random_features`` and
    ``penalty`` are that regression's. ``focal`` is the focal loss's exponent (0: cross-entropy).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=4)
    width: int = Field(16, ge=4, le=256)
    levels: int = Field(4, ge=1, le=6)
    random_features: int = Field(48, ge=0, le=1000)
    penalty: float = Field(1e-3, gt=0)
    focal: float = Field(0.0, ge=0, le=10)


class CrossBlock(nn.Module):
    """Mixes each query with each of its support images (Butoi et al. 2023, equations 2 to 4).

    ``z_i = A(Conv(u ‖ v_i))``, ``u' = A(Conv(mean z_i))``, ``v_i' = A(Conv(z_i))``. The convolution
    of a concatenation is the sum of two convolutions, so that of the query is computed once for all
    its support images; the paper has no normalisation of ``z``.
    """

    def __init__(
        self, query: int, support: int, width: int, *, axes: int = 2, last: bool = False
    ) -> None:
        super().__init__()
        layer = convolution_of(axes)
        self.query = layer(query, width, 3, padding=1)
        self.support = layer(support, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(4 if width % 4 == 0 else 1, width)
        self.to_query = layer(width, width, 3, padding=1)
        self.to_support = None if last else layer(width, width, 3, padding=1)

    def forward(self, query: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, *space)`` and ``(B, S, C', *space)`` to the same with ``width`` channels."""
        pairs = self.query(query)[:, None] + _each(self.support, support)
        pairs = F.gelu(_each(self.norm, pairs))
        mixed = F.gelu(self.to_query(pairs.mean(1)))
        return mixed, pairs if self.to_support is None else F.gelu(_each(self.to_support, pairs))


class ConditionedUNet(AbstractLearner):
    """Answers a query in one pass, in which every layer sees the support.

    After UniverSeg (Butoi et al. 2023), with three departures for processors without a graphics
    card: the blocks work at half the picture's size, and a few convolutions of the query alone
    bring the edges back; each structure is one binary task; and query and support also show what a
    ridge regression on the support's pixels says of them (a prior without training, as in Tian et
    al. 2020, PFENet), to whose logits the network adds. Untrained it is that regression. Signals
    and volumes are convolved over their own axes.
    """

    def __init__(
        self, encoder: AbstractEncoder, config: ConditionedUNetConfig, input_spec: InputSpec
    ) -> None:
        super().__init__()
        self.encoder = pixel_encoder(encoder).requires_grad_(False)
        self.config = config
        width, levels, axes = config.width, config.levels, len(input_spec.size)
        layer, channels = convolution_of(axes), input_spec.channels
        size = self.encoder.dense_size
        weights = random_weights(size, config.random_features, seed=0)
        self.register_buffer("hidden", weights)
        self.query_stem = layer(channels + 1, width, 4, stride=2, padding=1)
        self.support_stem = layer(channels + 2, width, 4, stride=2, padding=1)
        self.down = nn.ModuleList(CrossBlock(width, width, width, axes=axes) for _ in range(levels))
        self.up = nn.ModuleList(
            CrossBlock(2 * width, 2 * width, width, axes=axes, last=level == levels - 2)
            for level in range(levels - 1)
        )
        fine = 8
        self.coarse = layer(width, fine, 1)
        self.edges = layer(channels + 1, fine, 3, padding=1)
        self.join = layer(2 * fine, fine, 3, padding=1)
        self.answer = layer(fine, 1, 1)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)  # type: ignore[arg-type]
        self.trust = nn.Parameter(torch.ones(()))
        self.traits = Traits(targets=MASKS, input_kinds=frozenset({input_spec.kind}))

    hidden: Tensor

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Fit the ridge regression; the predictor holds it and the support."""
        check_task_fits(self, target, support)
        images, labels = any_tensor(support.inputs), support.labels
        features = self._features(images)
        ridge = fit_ridge(features, labels, target.size, self.hidden, penalty=self.config.penalty)
        marked = _marked(labels, target, images.dtype)
        prior = _against_rest(ridge.scores(features))
        shown = images[:, None].expand(-1, target.size - 1, *images.shape[1:])
        context = torch.cat([shown, marked, prior], dim=3)

        def predict(inputs: Inputs) -> Tensor:
            queries = any_tensor(inputs)
            pairs = context.shape[1] * context.shape[2]
            return in_parts(lambda part: self._answer(part, ridge, context), queries, pairs)

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: the query's loss."""
        answers = self.adapt(episode.support, episode.target)(episode.query.inputs)
        return task_loss(answers, episode.query.labels, episode.target, focal=self.config.focal)

    def _features(self, images: Tensor) -> Tensor:
        found = self.encoder.dense(images.flatten(0, 1))
        return found.reshape(*images.shape[:2], *found.shape[1:])

    def _answer(self, queries: Tensor, ridge: PixelRidge, context: Tensor) -> Tensor:
        """Queries ``(T, Q, C, *space)`` to logits ``(T, Q, size, *space)``."""
        prior = _against_rest(ridge.scores(self._features(queries)))  # (T, K, Q, 1, *space)
        tasks, structures, n = prior.shape[:3]
        shown = queries[:, None].expand(-1, structures, *queries.shape[1:])
        asked = torch.cat([shown, prior], dim=3).flatten(0, 2)
        logits = self._network(asked, context.flatten(0, 1), n) + self.trust * asked[:, -1:]
        logits = logits.reshape(tasks, structures, n, *logits.shape[2:]).transpose(1, 2)
        return torch.cat([torch.zeros_like(logits[:, :, :1]), logits], dim=2)

    def _network(self, asked: Tensor, context: Tensor, n: int) -> Tensor:
        """``n`` queries ``(B * n, C + 1, *space)`` for each of ``(B, S, C + 2, *space)``."""
        query = F.gelu(self.query_stem(asked))
        support = F.gelu(_each(self.support_stem, context))
        support = support.repeat_interleave(n, dim=0)
        skips: list[tuple[Tensor, Tensor]] = []
        for number, block in enumerate(self.down):
            if number:
                query, support = _halved(query), _each(_halved, support)
            query, support = block(query, support)
            skips.append((query, support))
        query, support = skips.pop()
        for block in self.up:
            finer_query, finer_support = skips.pop()
            query = torch.cat([_as_large(query, finer_query), finer_query], dim=1)
            wide = _each(lambda x, to=finer_support: _as_large(x, to[0]), support)
            query, support = block(query, torch.cat([wide, finer_support], dim=2))
        coarse = _as_large(self.coarse(query), asked)
        edges = F.gelu(self.edges(asked))
        found: Tensor = self.answer(F.gelu(self.join(torch.cat([coarse, edges], dim=1))))
        return found


def _each(function: object, support: Tensor) -> Tensor:
    """``function`` of images ``(N, C, *space)``, of a support ``(B, S, C, *space)``."""
    found = function(support.flatten(0, 1))  # type: ignore[operator]
    return cast(Tensor, found.reshape(*support.shape[:2], *found.shape[1:]))


def _halved(images: Tensor) -> Tensor:
    return images if min(images.shape[2:]) < 2 else averaged(images, 2)


def _as_large(images: Tensor, other: Tensor) -> Tensor:
    return resized(images, tuple(other.shape[2:]))


def _marked(labels: Tensor, target: Target, dtype: torch.dtype) -> Tensor:
    """``(T, K, S, 1, *space)``: 1 in a structure, -1 beside it, 0 where nobody knows."""
    structures = torch.arange(1, target.size, device=labels.device)
    is_it = labels[:, None] == structures.reshape(1, -1, *[1] * (labels.ndim - 1))
    known = (labels >= 0)[:, None]
    return ((2 * is_it.to(dtype) - 1) * known)[:, :, :, None]


def _against_rest(scores: Tensor) -> Tensor:
    """Scores ``(T, N, size, *space)`` as logits of each structure, ``(T, K, N, 1, *space)``."""
    logits = SCALE * (scores[:, :, 1:] - scores[:, :, :1])
    return logits.clamp(-8, 8).transpose(1, 2)[:, :, :, None]


def _build(
    config: ConditionedUNetConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> ConditionedUNet:
    check_target("conditioned_unet", MASKS, target)
    return ConditionedUNet(encoder, config, input_spec)


SPEC = LearnerSpec(
    name="conditioned_unet",
    family="segmentation",
    summary="a U-Net whose layers mix the query with the support's images and masks",
    paper="Butoi, Gonzalez Ortiz et al. 2023, UniverSeg: Universal Medical Image Segmentation",
    config=ConditionedUNetConfig,
    build=_build,
    default_norm="group",
    dense_encoder="filters",
)
