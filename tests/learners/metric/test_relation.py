"""Relation scores against the network on joined pairs, one by one; maps of every encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmeta.encoders import AbstractEncoder, ExternalEncoder
from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.learners import EmbeddingLearner, build_head, build_learner
from medmeta.learners.metric.relation import (
    MapEncoder,
    RelationConfig,
    RelationHead,
    RelationModule,
)

THREE = Target("classes", 3)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relation(shape: tuple[int, ...]) -> RelationModule:
    torch.manual_seed(0)
    module = RelationModule(shape, width=8, hidden=4)
    with torch.no_grad():
        for parameter in module.parameters():  # also the norms' scales and shifts
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return module.requires_grad_(False)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 5), (9, 4)])
def test_scores_equal_a_plain_network_on_each_pair_joined(size: tuple[int, int]) -> None:
    module = relation((6, *size))
    classes, queries = normal(2, 3, 6, *size), normal(2, 4, 6, *size, seed=1)
    found = module(classes, queries)
    first = torch.cat([module.of_class.weight, module.of_query.weight], dim=1)
    parts = list(module.blocks)
    for t, q, n in ((0, 0, 0), (0, 3, 2), (1, 2, 1)):
        joined = torch.cat([classes[t, n], queries[t, q]])[None]
        for weight, norm in ((first, parts[0]), (parts[3].weight, parts[4])):
            joined = F.conv2d(joined, weight, padding=1)
            mean, variance = joined.mean(), joined.var(correction=0)
            joined = (joined - mean) / (variance + 1e-5).sqrt()
            joined = joined * norm.weight[:, None, None] + norm.bias[:, None, None]
            joined = F.max_pool2d(F.relu(joined), 2, ceil_mode=True)
        inner, _, outer = module.scoring
        hidden = F.relu(inner.weight @ joined.flatten() + inner.bias)
        wanted = outer.weight[0] @ hidden + outer.bias[0]
        torch.testing.assert_close(found[t, q, n], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("space", [(7,), (3, 4, 2)])
def test_maps_of_signals_and_volumes_are_compared_too(space: tuple[int, ...]) -> None:
    scores = relation((4, *space))(normal(1, 2, 4, *space), normal(1, 5, 4, *space, seed=1))
    assert scores.shape == (1, 5, 2)
    assert float(scores.std()) > 0


def test_a_map_of_one_position_leaves_something_to_compare() -> None:
    scores = relation((4, 1, 1))(normal(1, 3, 4, 1, 1), normal(1, 5, 4, 1, 1, seed=1))
    assert float(scores.std()) > 1e-3


@pytest.mark.parametrize(("shots", "counts"), [("sum", (1, 1, 1)), ("mean", (3, 2, 1))])
def test_a_class_is_the_sum_or_the_mean_of_its_maps(shots: Any, counts: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head = RelationHead(RelationConfig(shots=shots, width=8), (4, 2, 2)).requires_grad_(False)
    images, queries = normal(1, 6, 16), normal(1, 5, 16, seed=1)
    labels = torch.tensor([[0, 1, 0, 2, 1, 0]])
    found = head.adapt(LabelledSet(images, labels, torch.zeros(1)), THREE)(queries)
    maps = [images[0][labels[0] == n].sum(0).view(4, 2, 2) / counts[n] for n in range(3)]
    wanted = head.relation(torch.stack(maps)[None], queries.view(1, 5, 4, 2, 2))
    torch.testing.assert_close(found, wanted)


def test_the_loss_is_the_squared_error_of_the_scores_to_one_and_zero() -> None:
    torch.manual_seed(0)
    head = RelationHead(RelationConfig(), (4, 2, 2)).requires_grad_(False)
    support = LabelledSet(normal(2, 3, 16), torch.tensor([[0, 1, 2]] * 2), torch.zeros(2))
    asked = torch.tensor([[2, 0], [1, 1]])
    query = LabelledSet(normal(2, 2, 16, seed=1), asked, torch.zeros(2))
    found = head.loss(Episode(support, query, THREE))
    relations = torch.sigmoid(head.adapt(support, THREE)(query.inputs))
    for t in range(2):
        errors = [
            (float(relations[t, q, n]) - (1.0 if int(asked[t, q]) == n else 0.0)) ** 2
            for q in range(2)
            for n in range(3)
        ]
        assert float(found[t]) == pytest.approx(sum(errors) / 6, rel=1e-5)


def encoder_of(learner: Any) -> MapEncoder:
    assert type(learner) is EmbeddingLearner
    assert type(learner.encoder) is MapEncoder
    return learner.encoder


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("conv4", {"width": 6}, (6, 2, 3)),
        ("conv4", {"width": 6, "embed": "mean"}, (6, 2, 3)),
        ("resnet12", {"widths": (4, 4, 4, 8)}, (8, 2, 3)),
        ("pixels", {"side": 12}, (1, 8, 12)),
    ],
)
def test_the_embedding_is_the_last_map_whatever_the_encoder_embeds(
    name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    config = {"encoder": {"name": name, "options": options}}
    learner = build_learner("relation", config, InputSpec(1, (32, 48)), THREE).eval()
    encoder = encoder_of(learner)
    assert encoder.map_shape == shape
    assert learner.traits.has_head  # so evaluation encodes each image once
    assert not learner.traits.transductive
    images = normal(2, 3, 1, 32, 48)
    with torch.no_grad():
        last = encoder.encoder.stages(images.flatten(0, 1))[-1]
        found = encoder_of(learner)(images.flatten(0, 1))
    assert found.shape == (6, encoder.embedding_size)
    torch.testing.assert_close(found.view(6, *shape), last)


def test_a_vector_of_one_s_own_network_is_a_map_of_one_position() -> None:
    own = nn.Sequential(nn.Flatten(), nn.Linear(256, 6))
    learner = build_learner("relation", None, InputSpec(1, (16, 16)), THREE, encoder=own)
    assert encoder_of(learner).map_shape == (6, 1)


def test_finding_the_shape_leaves_statistics_and_modes_as_they_were() -> None:
    norm = nn.BatchNorm2d(2)
    own = nn.Sequential(nn.Conv2d(1, 2, 3), norm, nn.Dropout().eval())
    encoder: AbstractEncoder = ExternalEncoder(own, InputSpec(1, (8, 8)))
    MapEncoder(encoder, InputSpec(1, (8, 8)))
    assert int(norm.num_batches_tracked or 0) == 0
    assert [part.training for part in own] == [True, True, False]


def test_in_training_too_a_task_s_loss_is_its_own() -> None:
    torch.manual_seed(0)
    config = {"encoder": {"norm": "group", "options": {"width": 8}}}
    learner = build_learner("relation", config, InputSpec(1, (16, 16)), THREE).train()
    labels = torch.tensor([[0, 1, 2]] * 2)
    support = LabelledSet(normal(2, 3, 1, 16, 16), labels, torch.zeros(2))
    query = LabelledSet(normal(2, 3, 1, 16, 16, seed=1), labels, torch.zeros(2))
    episode = Episode(support, query, THREE)
    alone = [learner.loss(episode.tasks(t, t + 1)) for t in range(2)]
    torch.testing.assert_close(learner.loss(episode), torch.cat(alone))


def test_it_is_no_head_for_vectors_and_takes_no_values() -> None:
    with pytest.raises(UnsupportedTaskError, match="relation is not a head"):
        build_head("relation", None, InputSpec(8, ()), THREE)
    with pytest.raises(UnsupportedTaskError, match="takes classes, not values"):
        build_learner("relation", None, InputSpec(1, (16, 16)), Target("values", 1))


def test_too_narrow_a_module_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="learner relation: width: "):
        build_learner("relation", {"width": 4}, InputSpec(1, (16, 16)), THREE)
