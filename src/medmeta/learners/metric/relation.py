"""Relation Networks: the comparison of a query with a class is itself learned."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.encoders import (
    AbstractEncoder,
    convolution_of,
    max_pool,
    uses_batch_statistics,
)
from medmeta.episode import Episode, Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import class_means
from medmeta.learners._embedding import EmbeddingLearner
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.modes import answering


class RelationConfig(EncodedConfig):
    """Options of Relation Networks.

    ``width``: channels of the relation module's two convolutions; ``hidden``: units between its
    two linear layers. ``shots``: a class is the mean of its support's feature maps, or their
    sum, as in the paper. For one number of images the two can do the same; a network that learned
    from sums of one image is at chance with sums of five, one that learned from means is not.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    width: int = Field(64, ge=8, le=1024)
    hidden: int = Field(8, ge=1, le=1024)
    shots: Literal["mean", "sum"] = "mean"


class MapEncoder(AbstractEncoder):
    """Another encoder, whose embedding is its last feature map ``map_shape``, flattened."""

    def __init__(self, encoder: AbstractEncoder, input_spec: InputSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.map_shape = _map_shape(encoder, input_spec)
        self.embedding_size = math.prod(self.map_shape)

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """Feature maps of the encoder."""
        return self.encoder.stages(inputs)

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Flatten."""
        return feature_map.flatten(1)


class RelationModule(nn.Module):
    """Scores pairs of feature maps: two convolution blocks and two linear layers.

    Sung et al. 2018, section 3.4, without the last sigmoid. The first convolution of two maps
    joined is the sum of one of each, so it is made for each map, not for each pair. Each pair is
    normalised by itself, where the paper's batch normalisation would let queries help each other,
    and padded, so that maps may be of any size; ``shape`` is ``(C, *space)``.
    """

    def __init__(self, shape: tuple[int, ...], *, width: int, hidden: int) -> None:
        super().__init__()
        channels, *space = shape
        convolution = convolution_of(len(space))

        def rest_of_block() -> list[nn.Module]:
            # One group: of smaller ones a map of one position would leave nothing but zeros.
            return [nn.GroupNorm(1, width), max_pool(len(space), 2, ceil_mode=True), nn.ReLU()]

        self.of_class = convolution(channels, width, 3, padding=1, bias=False)
        self.of_query = convolution(channels, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            *rest_of_block(),
            convolution(width, width, 3, padding=1, bias=False),
            *rest_of_block(),
        )
        positions = math.prod(-(-size // 4) for size in space)
        self.scoring = nn.Sequential(
            nn.Linear(width * positions, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        """Scores ``(T, Q, N)`` of ``(T, N, C, *space)`` and ``(T, Q, C, *space)``."""
        n_tasks, n_way, n_query = *classes.shape[:2], queries.shape[1]
        of_class = self.of_class(classes.flatten(0, 1)).unflatten(0, (n_tasks, 1, n_way))
        of_query = self.of_query(queries.flatten(0, 1)).unflatten(0, (n_tasks, n_query, 1))
        pairs = (of_class + of_query).flatten(0, 2)
        scores: Tensor = self.scoring(self.blocks(pairs).flatten(1))
        return at_least_single(scores).reshape(n_tasks, n_query, n_way)


class RelationHead(AbstractLearner):
    """Logits are the relation scores before their sigmoid: they order alike, and never saturate.

    Takes feature maps of shape ``map_shape``, flattened: ``(T, S, D)``. Sung et al. 2018,
    equations 1 to 3.
    """

    def __init__(self, config: RelationConfig, map_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.map_shape = map_shape
        self.summed = config.shots == "sum"
        self.relation = RelationModule(map_shape, width=config.width, hidden=config.hidden)
        self.traits = Traits(input_kinds=frozenset({"vector"}))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Feature maps of the classes; the predictor relates queries to them."""
        maps = at_least_single(any_tensor(support.inputs))
        if self.summed:
            classes = F.one_hot(support.labels, target.size).to(maps.dtype).mT @ maps
        else:
            classes = class_means(maps, support.labels, target.size)
        class_maps = classes.reshape(*classes.shape[:2], *self.map_shape)

        def predict(inputs: Inputs) -> Tensor:
            queries = at_least_single(any_tensor(inputs))
            query_maps = queries.reshape(*queries.shape[:2], *self.map_shape)
            scores: Tensor = self.relation(class_maps, query_maps)
            return scores

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """Mean squared error of the relation scores to the one-hot labels, ``(T,)``."""
        scores = self.adapt(episode.support, episode.target)(episode.query.inputs).sigmoid()
        wanted = F.one_hot(episode.query.labels, episode.target.size)
        return (scores - wanted).square().mean((1, 2))


def _map_shape(encoder: AbstractEncoder, input_spec: InputSpec) -> tuple[int, ...]:
    """Shape of the last feature map of a blank image; the encoder's modes are kept."""
    with answering(encoder):
        last = encoder.stages(input_spec.blank(1))[-1]
    return tuple(last.shape[1:])


def _build(
    config: RelationConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> AbstractLearner:
    mapped = MapEncoder(encoder, input_spec)
    return EmbeddingLearner(
        mapped,
        RelationHead(config, mapped.map_shape),
        input_kind=input_spec.kind,
        coupled=uses_batch_statistics(encoder),
    )


SPEC = LearnerSpec(
    name="relation",
    family="metric",
    summary="learns how a query's feature map compares with a class's",
    paper="Sung et al. 2018, Learning to Compare: Relation Network for Few-Shot Learning",
    config=RelationConfig,
    build=_build,
)
