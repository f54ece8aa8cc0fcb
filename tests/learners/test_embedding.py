"""Embedding learners: what is encoded together and what never is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medmeta.check_tasks import TaskMaker
from medmeta.encoders import AbstractEncoder
from medmeta.episode import Episode, InputSpec, Target
from medmeta.learner import AbstractLearner, HeadedLearner, adapt_task
from medmeta.learners import EmbeddingLearner, build_learner
from medmeta.learners.metric.prototypical import PrototypicalConfig, PrototypicalHead
from medmeta.task_loss import task_loss

IMAGE, TARGET = InputSpec(3, (16, 16)), Target("classes", 3)
EPISODE = TaskMaker(IMAGE, TARGET).episode(2, n_shot=2, n_query=2, seed=0)


def make(norm: str = "running", name: str = "ridge", **options: Any) -> AbstractLearner:
    torch.manual_seed(0)
    config = {"encoder": {"norm": norm, "options": {"width": 8, **options}}}
    return build_learner(name, config, IMAGE, TARGET).eval()


@pytest.mark.parametrize("norm", ["running", "group", "batch", "none"])
def test_the_loss_is_that_of_what_it_predicts(norm: str) -> None:
    learner = make(norm)
    logits = learner.adapt(EPISODE.support, TARGET)(EPISODE.query.inputs)
    wanted = task_loss(logits, EPISODE.query.labels, TARGET)
    torch.testing.assert_close(learner.loss(EPISODE), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("norm", "coupled"), [("batch", True), ("running", False)])
def test_batch_statistics_are_declared_transductive(norm: str, coupled: bool) -> None:
    assert make(norm).traits.transductive == coupled


def test_batch_statistics_of_an_encoder_of_one_s_own_are_found() -> None:
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    assert build_learner("ridge", None, IMAGE, TARGET, encoder=own).traits.transductive


def test_pixels_are_coupled_by_no_normalisation() -> None:
    config = {"encoder": {"name": "pixels", "norm": "batch"}}
    assert not build_learner("ridge", config, IMAGE, TARGET).traits.transductive


def test_without_an_encoder_to_train_only_the_head_may_be() -> None:
    config = {"encoder": {"name": "pixels"}}
    assert not build_learner("prototypical", config, IMAGE, TARGET).traits.trainable
    assert build_learner("ridge", config, IMAGE, TARGET).traits.trainable
    assert make(name="prototypical").traits.trainable


def test_an_adapted_task_keeps_the_embeddings_and_the_head_s_predictor() -> None:
    learner = make()
    assert isinstance(learner, HeadedLearner)
    with torch.no_grad():
        adapted = adapt_task(learner, EPISODE.support, TARGET)
        logits = adapted.predictor(EPISODE.query.inputs)
        assert adapted.support_embeddings is not None
        assert adapted.support_embeddings.shape == (2, 6, 8)
        assert adapted.head_predictor is not None
        torch.testing.assert_close(
            adapted.head_predictor(learner.encode(EPISODE.query.inputs)), logits
        )
        again = learner.adapt(EPISODE.support, TARGET)(EPISODE.query.inputs)
        torch.testing.assert_close(logits, again)


def test_training_with_running_statistics_updates_them_and_adapting_does_not() -> None:
    learner = make("running").train()
    before = {k: v.clone() for k, v in learner.state_dict().items() if "running" in k}
    learner.loss(EPISODE)
    assert any(not torch.equal(v, learner.state_dict()[k]) for k, v in before.items())


@pytest.mark.parametrize("channels", [1, 3])
def test_encoders_get_images_with_channels_innermost(channels: int) -> None:
    """Torch takes a lone channel for the other layout unless its strides say so."""
    seen = []

    class Watching(AbstractEncoder):
        embedding_size = 1

        def stages(self, inputs: Tensor) -> list[Tensor]:
            seen.append(inputs)
            return [inputs.mean((1, 2, 3), keepdim=True)]

        def summarise(self, feature_map: Tensor) -> Tensor:
            return feature_map.flatten(1)

    images = torch.rand(2, 3, channels, 5, 7)
    learner = EmbeddingLearner(Watching(), PrototypicalHead(PrototypicalConfig()))
    embeddings = learner.encode(images)
    assert seen[0].stride() == (35 * channels, 1, 7 * channels, channels)
    assert torch.equal(seen[0], images.flatten(0, 1))
    torch.testing.assert_close(embeddings[..., 0], images.mean((2, 3, 4)))


def test_with_batch_statistics_the_head_s_own_loss_counts_and_both_sets_teach() -> None:
    """Support and query are encoded apart, as when it predicts; the loss is that of pairs."""
    learner = make("batch", "siamese")
    assert isinstance(learner, EmbeddingLearner)
    support, query = (
        part.with_inputs(learner.encode(part.inputs)) for part in (EPISODE.support, EPISODE.query)
    )
    wanted, found = learner.head.loss(Episode(support, query, TARGET)), learner.loss(EPISODE)
    torch.testing.assert_close(found, wanted)
    weights = list(learner.encoder.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), weights), torch.autograd.grad(wanted.sum(), weights)
    )
