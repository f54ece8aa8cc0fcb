"""LEO: descend in a small latent space from which each class's weights are decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Episode, Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import class_means
from medmeta.learners._inner_loop import LossOfWeights, Update, Weights, descend
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.task_loss import task_loss

LEAST_SPREAD = 1e-3  # keeps the gradient of a spread's logarithm below a thousand
MOST_GROWTH = 2.0  # of a spread's exponent: latents that run away would overflow it


class LEOConfig(HeadConfig):
    """Options of LEO.

    ``latent_size``: numbers in a class's latent. ``latent_steps`` in the latent space, then
    ``tuning_steps`` of the decoded weights; ``latent_rate`` and ``tuning_rate`` are where their
    learned rates start. While training: ``dropout`` of the embeddings, and latents and weights
    drawn at random (with ``dropout=0`` still). ``kl_weight`` keeps the latents near a standard
    normal, ``encoder_penalty`` the first latents near the adapted ones,
    ``orthogonality_penalty`` the decoder's columns apart, ``l2_penalty`` all weights small.
    """

    training_defaults = TrainingDefaults(learning_rate=5e-4, tasks_per_step=4)
    latent_size: int = Field(64, ge=1, le=4096)
    latent_steps: int = Field(5, ge=0, le=1000)
    tuning_steps: int = Field(5, ge=0, le=1000)
    latent_rate: float = Field(1.0, gt=0)
    tuning_rate: float = Field(1e-3, gt=0)
    dropout: float = Field(0.3, ge=0, lt=1)
    kl_weight: float = Field(1e-3, ge=0)
    encoder_penalty: float = Field(1e-6, ge=0)
    orthogonality_penalty: float = Field(1e-3, ge=0)
    l2_penalty: float = Field(1e-8, ge=0)


class TaskChance:
    """Numbers drawn for each of T tasks from a generator of its own, seeded by its id.

    >>> both, second = TaskChance(torch.tensor([3, 4])), TaskChance(torch.tensor([4]))
    >>> torch.equal(both.normal(torch.zeros(2, 5))[1:], second.normal(torch.zeros(1, 5)))
    True
    """

    def __init__(self, task_ids: Tensor) -> None:
        self.generators = [torch.Generator().manual_seed(int(i)) for i in task_ids.tolist()]

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape ``(T, ...)`` of another tensor."""
        drawn = [
            torch.randn(like.shape[1:], generator=generator, dtype=like.dtype)
            for generator in self.generators
        ]
        return torch.stack(drawn).to(like.device)

    def dropped(self, numbers: Tensor, share: float) -> Tensor:
        """``(T, ...)`` with a share of them set to zero, and the others enlarged to make up."""
        if share == 0:
            return numbers
        drawn = [torch.rand(numbers.shape[1:], generator=g) >= share for g in self.generators]
        return numbers * torch.stack(drawn).to(numbers) / (1 - share)


@dataclass(frozen=True)
class Gaussian:
    """Independent normal numbers: ``mean`` and ``spread``, of one shape."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, parameters: Tensor, *, spread_at_zero: float) -> Gaussian:
        """From ``(..., 2 D)``: means, and logarithms of the spreads up to an offset."""
        mean, raw = parameters.chunk(2, -1)
        return cls(mean, _spread(raw, spread_at_zero))

    def draw(self, noise: Tensor | None) -> Tensor:
        """The mean, or moved from it by standard normal noise."""
        return self.mean if noise is None else self.mean + self.spread * noise

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence from the standard normal, a mean over numbers: ``(T,)``."""
        of_each = (self.mean.square() + self.spread.square() - 1) / 2 - self.spread.log()
        return of_each.flatten(1).mean(1)


@dataclass(frozen=True)
class Adapted:
    """Each task's weights ``(T, N, D)``, and what its loss adds for how they came, ``(T,)``."""

    weights: Tensor
    penalty: Tensor


class LEOHead(AbstractLearner):
    """Takes embeddings ``(T, S, D)``, scaled to length 1; logits are ``x · w`` of each class.

    Rusu et al. 2019, algorithm 1 and section 2.3: one latent per class, so any number of classes
    and of images in each. Evaluation takes the means of latents and weights, as the authors'
    code does; training draws them, by each task's own id. That code sums the support's loss over
    classes and takes its mean over the images of a class: here too, or the rates would be N times
    too small.
    """

    def __init__(self, config: LEOConfig, size: int) -> None:
        super().__init__()
        self.config = config
        latents = config.latent_size
        self.encoder = nn.Linear(size, latents, bias=False)
        self.pairs = nn.Linear(2 * latents, 2 * latents, bias=False)
        self.related = nn.Linear(2 * latents, 2 * latents, bias=False)
        self.summary = nn.Linear(2 * latents, 2 * latents, bias=False)
        self.decoder = nn.Linear(latents, 2 * size, bias=False)
        for matrix in self._matrices():
            nn.init.xavier_uniform_(matrix)
        self.latent_rates = nn.Parameter(torch.full((latents,), config.latent_rate))
        self.tuning_rates = nn.Parameter(torch.full((size,), config.tuning_rate))
        self.traits = Traits(input_kinds=frozenset({"vector"}))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Take the steps; the predictor is linear in the embedding of length 1."""
        weights = self._adapted(support, target, self._chance(support)).weights
        return lambda inputs: unit_length(inputs) @ weights.mT

    def loss(self, episode: Episode) -> Tensor:
        """Cross-entropy of the query, divergence and penalties of each task: ``(T,)``."""
        chance, target = self._chance(episode.support), episode.target
        adapted = self._adapted(episode.support, target, chance)
        queries = self._dropped(unit_length(episode.query.inputs), chance)
        losses = task_loss(queries @ adapted.weights.mT, episode.query.labels, target)
        return losses + adapted.penalty + self._size_penalty()

    def latents(self, images: Tensor, labels: Tensor, n_way: int) -> Gaussian:
        """Of each class, ``(T, N, L)``: the mean over its images paired with all of the task."""
        codes = self.encoder(images)
        left, right = self.pairs.weight.chunk(2, 1)
        # A layer of two codes joined is the sum of one of each, made for images, not for pairs;
        # and the last layer is linear, so it may come after the mean.
        joined = (codes @ left.mT)[:, :, None] + (codes @ right.mT)[:, None]
        related = self.related(joined.relu()).relu().mean(2)
        of_class = class_means(self.summary(related), labels, n_way)
        return Gaussian.of(of_class, spread_at_zero=0.0)

    def _adapted(self, support: LabelledSet, target: Target, chance: TaskChance | None) -> Adapted:
        config, images = self.config, unit_length(support.inputs)
        found = self.latents(self._dropped(images, chance), support.labels, target.size)
        first = latents = found.draw(_noise(chance, found.mean))
        for _ in range(config.latent_steps):
            loss = self._support_loss(images, support.labels, target, chance, decoded=False)
            latents = _stepped(loss, latents, self.latent_rates)
        weights = self._decoded(latents, self._weight_noise(latents, chance))
        for _ in range(config.tuning_steps):
            loss = self._support_loss(images, support.labels, target, chance, decoded=True)
            weights = _stepped(loss, weights, self.tuning_rates)
        moved = (latents.detach() - first).square().flatten(1).mean(1)
        penalty = config.kl_weight * found.divergence() + config.encoder_penalty * moved
        return Adapted(weights, penalty)

    def _support_loss(
        self,
        images: Tensor,
        labels: Tensor,
        target: Target,
        chance: TaskChance | None,
        *,
        decoded: bool,
    ) -> LossOfWeights:
        """Of latents, or of ``decoded`` weights: added over the tasks, which do not touch."""
        shape = images.new_empty(len(images), target.size, 0)
        noise = None if decoded else self._weight_noise(shape, chance)
        kept = self._dropped(images, chance)

        def loss(point: Weights) -> Tensor:
            weights = point["point"] if decoded else self._decoded(point["point"], noise)
            return target.size * task_loss(kept @ weights.mT, labels, target).sum()

        return loss

    def _decoded(self, latents: Tensor, noise: Tensor | None) -> Tensor:
        """Weights ``(T, N, D)`` of latents ``(T, N, L)``; at first spread as Glorot and Bengio."""
        n_way, size = latents.shape[1], len(self.tuning_rates)
        spread = math.sqrt(2 / (n_way + size))
        return Gaussian.of(self.decoder(latents), spread_at_zero=spread).draw(noise)

    def _weight_noise(self, latents: Tensor, chance: TaskChance | None) -> Tensor | None:
        return _noise(chance, latents.new_empty(*latents.shape[:2], len(self.tuning_rates)))

    def _chance(self, support: LabelledSet) -> TaskChance | None:
        return TaskChance(support.task_ids) if self.training else None

    def _dropped(self, images: Tensor, chance: TaskChance | None) -> Tensor:
        return images if chance is None else chance.dropped(images, self.config.dropout)

    def _matrices(self) -> list[Tensor]:
        layers = (self.encoder, self.pairs, self.related, self.summary, self.decoder)
        return [layer.weight for layer in layers]

    def _size_penalty(self) -> Tensor:
        squares = torch.stack([matrix.square().sum() for matrix in self._matrices()]).sum() / 2
        apart = column_likeness(self.decoder.weight)
        return self.config.l2_penalty * squares + self.config.orthogonality_penalty * apart


def column_likeness(matrix: Tensor) -> Tensor:
    """Mean squared difference of the columns' cosines from the identity: 0 where orthogonal.

    >>> column_likeness(torch.eye(3)), column_likeness(torch.ones(3, 2))
    (tensor(0.), tensor(0.5000))
    """
    columns = F.normalize(matrix, dim=0)
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    return (columns.mT @ columns - identity).square().mean()


def unit_length(inputs: Inputs) -> Tensor:
    """Embeddings ``(T, S, D)`` scaled to length 1, as the authors' were."""
    return F.normalize(at_least_single(any_tensor(inputs)), dim=-1)


def _spread(raw: Tensor, at_zero: float) -> Tensor:
    return (raw.clamp(max=MOST_GROWTH).exp() - 1 + at_zero).clamp(min=LEAST_SPREAD)


def _noise(chance: TaskChance | None, like: Tensor) -> Tensor | None:
    return None if chance is None else chance.normal(like)


def _stepped(loss: LossOfWeights, point: Tensor, rates: Tensor) -> Tensor:
    """``point - rates ∘ gradient``."""

    def update(before: Weights, gradients: Weights, step: int) -> Weights:
        return {name: value - rates * gradients[name] for name, value in before.items()}

    rule: Update = update
    return descend(loss, {"point": point}, rule, 1)["point"]


def _build_head(config: LEOConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return LEOHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="leo",
    family="gradient",
    summary="descends in a small latent space from which each class's weights are decoded",
    paper="Rusu et al. 2019, Meta-Learning with Latent Embedding Optimization",
    config=LEOConfig,
    build_head=_build_head,
)
