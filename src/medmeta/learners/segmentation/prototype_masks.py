"""Masks by the nearest prototype: means of the support's features over and around a structure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medmeta.encoders import AbstractEncoder, averaged_to
from medmeta.episode import (
    Episode,
    InputSpec,
    LabelledSet,
    Predictor,
    Target,
    any_tensor,
)
from medmeta.learner import (
    AbstractLearner,
    TrainingDefaults,
    Traits,
    check_target,
    check_task_fits,
)
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.learners.segmentation._parts import MASKS, in_parts, pixel_encoder
from medmeta.task_loss import task_loss

NOTHING = -1e4  # the logit of a prototype that is not there
EPSILON = 1e-6
SPACE = ("w", "hw", "zhw")  # letters of sums over space, by its axes


class PrototypeMasksConfig(EncodedConfig):
    """Options of prototype masks.

    ``grid``: each axis of a support image is cut into so many parts (of a volume or a signal into
    so many that there are as many in all), and a prototype is made of each that lies in the
    structure by at least ``cover`` (1: one for each structure and image at most), beside the one of
    the whole structure. ``scale`` multiplies the cosines.
    ``alignment`` weighs the loss of the way back, from the query's answer to the support. ``focal``
    is the focal loss's exponent (0: cross-entropy).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=4)
    grid: int = Field(8, ge=1, le=64)
    cover: float = Field(0.95, gt=0, le=1)
    scale: float = Field(20.0, gt=0)
    alignment: float = Field(1.0, ge=0)
    focal: float = Field(0.0, ge=0, le=10)


class PrototypeMasks(AbstractLearner):
    """Each pixel is told by the cosine to prototypes of each class.

    Masked average pooling and alignment: PANet (Wang et al. 2019, equations 1 to 3 and section
    3.4), for all classes at once. Several local prototypes, of which the alike weigh most: ALPNet
    (Ouyang et al. 2020, equations 2 to 4).
    """

    def __init__(
        self, encoder: AbstractEncoder, config: PrototypeMasksConfig, *, input_kind: str = "image"
    ) -> None:
        super().__init__()
        self.encoder = pixel_encoder(encoder)
        self.config = config
        self.traits = Traits(
            trainable=any(p.requires_grad for p in encoder.parameters()),
            targets=MASKS,
            input_kinds=frozenset({input_kind}),
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Compute the prototypes; the predictor holds them."""
        check_task_fits(self, target, support)
        made = self._prototypes(self._features(any_tensor(support.inputs)), support.labels, target)
        return lambda inputs: in_parts(
            lambda part: self._nearest(self._features(part), *made), any_tensor(inputs), 4
        )

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: the query's loss, and with ``alignment`` that of the way back."""
        check_task_fits(self, episode.target, episode.support)
        support, query, target = episode.support, episode.query, episode.target
        known = self._features(any_tensor(support.inputs))
        asked = self._features(any_tensor(query.inputs))
        made = self._prototypes(known, support.labels, target)
        answers, focal = self._nearest(asked, *made), self.config.focal
        loss = task_loss(answers, _of_those(query.labels, made[1]), target, focal=focal)
        if not self.config.alignment:
            return loss
        back = self._prototypes(asked, answers.argmax(2).detach(), target)
        return loss + self.config.alignment * task_loss(
            self._nearest(known, *back), _of_those(support.labels, back[1]), target, focal=focal
        )

    def _features(self, images: Tensor) -> Tensor:
        """Features of unit length, ``(T, n, D, *space)``."""
        found = F.normalize(self.encoder.dense(images.flatten(0, 1)), dim=1)
        return found.reshape(*images.shape[:2], *found.shape[1:])

    def _prototypes(
        self, features: Tensor, labels: Tensor, target: Target
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors ``(T, size, P, D)``, and which of them there are ``(T, size, P)``."""
        classes = torch.arange(target.size, device=labels.device)
        shape = (1, -1, *[1] * (labels.ndim - 1))
        masks = (labels[:, None] == classes.reshape(shape)).to(features.dtype)
        area, space = masks.flatten(2).sum(2), SPACE[labels.ndim - 3]
        whole = torch.einsum(f"tks{space},tsd{space}->tkd", masks, features)
        found, there = [whole[:, :, None]], [(area > 0)[:, :, None]]
        if self.config.grid > 1:
            parts = round(self.config.grid ** (2 / (labels.ndim - 2)))
            size = tuple(min(parts, side) for side in labels.shape[2:])
            shares = _pooled(masks, size)
            sums = _pooled(features, size).flatten(3).permute(0, 1, 3, 2).flatten(1, 2)
            local = sums[:, None].expand(-1, target.size, -1, -1)
            found.append(local)
            there.append((shares >= self.config.cover).flatten(2))
        return F.normalize(torch.cat(found, 2), dim=-1, eps=EPSILON), torch.cat(there, 2)

    def _nearest(self, features: Tensor, prototypes: Tensor, there: Tensor) -> Tensor:
        """Logits ``(T, Q, size, *space)``: cosines, of which the largest of a class weigh most."""
        scores, axes = [], features.ndim - 3
        space = SPACE[axes - 1]
        for number in range(prototypes.shape[1]):
            cosines = torch.einsum(f"tqd{space},tpd->tqp{space}", features, prototypes[:, number])
            absent = ~there[:, number, None].reshape(len(there), 1, -1, *[1] * axes)
            logits = (self.config.scale * cosines).masked_fill(absent, NOTHING)
            weights = logits.softmax(2)
            scores.append((weights * logits).sum(2))
        return torch.stack(scores, dim=2)


def _of_those(labels: Tensor, there: Tensor) -> Tensor:
    """Labels ``(T, S, *space)`` of the classes that have a prototype; no other can be answered."""
    known = there.any(2).gather(1, labels.clamp(min=0).flatten(1)).reshape(labels.shape)
    return torch.where(known, labels, -1)


def _pooled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Means over parts of ``(T, K, S, *space)``: as many along each axis as ``size`` says."""
    lead, space = maps.shape[:3], maps.shape[3:]
    return averaged_to(maps.reshape(-1, 1, *space), size).reshape(*lead, *size)


def _build(
    config: PrototypeMasksConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> PrototypeMasks:
    check_target("prototype_masks", MASKS, target)
    return PrototypeMasks(encoder, config, input_kind=input_spec.kind)


SPEC = LearnerSpec(
    name="prototype_masks",
    family="segmentation",
    summary="pixels by the nearest of several prototypes of each structure and the background",
    paper="Wang et al. 2019, PANet; Ouyang et al. 2020, Self-Supervision with Superpixels (ALPNet)",
    config=PrototypeMasksConfig,
    build=_build,
    default_norm="group",
)
