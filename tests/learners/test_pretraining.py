"""Pre-training: cross-entropy over all classes, and a learner that is kept."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learners import EmbeddingLearner, UnionClassifier, build_learner
from medmeta.learners.pretraining import Classifier, CosineClassifier

SPEC = InputSpec(1, (16, 16))
CLASSIFIERS = pytest.mark.parametrize("classifier", ["linear", "cosine"])


def pretraining(classifier: Classifier, *, encoder: str = "conv4") -> UnionClassifier:
    torch.manual_seed(0)
    options = {"width": 4} if encoder == "conv4" else {}
    config = {"encoder": {"name": encoder, "options": options}}
    learner = build_learner("prototypical", config, SPEC, Target("classes", 2))
    assert isinstance(learner, EmbeddingLearner)
    return UnionClassifier(learner, 3, classifier)


def batch(n: int = 6, n_classes: int = 3) -> Episode:
    random = torch.Generator().manual_seed(1)
    images = torch.randn(1, n, 1, 16, 16, generator=random)
    labels = torch.arange(n)[None] % n_classes
    ids = torch.zeros(1)
    none = LabelledSet(images[:, :0], labels[:, :0], ids)
    return Episode(none, LabelledSet(images, labels, ids), Target("classes", n_classes))


@CLASSIFIERS
def test_the_loss_is_the_cross_entropy_over_all_classes(classifier: Classifier) -> None:
    learner, episode = pretraining(classifier).eval(), batch()
    images, labels = episode.query.inputs, episode.query.labels
    embeddings = learner.learner.encoder(images[0])  # type: ignore[index]
    layer = learner.classifier
    if classifier == "linear":
        logits = embeddings @ layer.weight.T + layer.bias
    else:
        cosines = F.cosine_similarity(embeddings[:, None], layer.directions[None], dim=-1)
        logits = 10 * cosines
    wanted = -logits.log_softmax(1)[torch.arange(6), labels[0]].mean()
    found = learner.loss(episode).detach()
    assert found.shape == (1,)
    assert float(found) == pytest.approx(float(wanted.detach()), rel=1e-5)


@CLASSIFIERS
def test_encoder_and_classifier_learn_and_the_head_does_not(classifier: Classifier) -> None:
    torch.manual_seed(0)
    config = {"encoder": {"options": {"width": 4}}}
    kept = build_learner("ridge", config, SPEC, Target("classes", 2))
    assert isinstance(kept, EmbeddingLearner)
    learner = UnionClassifier(kept, 3, classifier).train()
    learner.loss(batch()).sum().backward()
    assert all(p.grad is not None for p in kept.encoder.parameters())
    assert all(p.grad is not None for p in learner.classifier.parameters())
    assert all(p.grad is None for p in kept.head.parameters())


@CLASSIFIERS
def test_it_learns(classifier: Classifier) -> None:
    learner, episode = pretraining(classifier).train(), batch(12)
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = learner.loss(episode).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_tasks_are_answered_by_the_learner_that_is_kept() -> None:
    learner, episode = pretraining("linear").eval(), batch()
    support = LabelledSet(episode.query.inputs, torch.arange(6)[None] % 2, torch.zeros(1))
    target = Target("classes", 2)
    with torch.no_grad():
        answers = learner.adapt(support, target)(episode.query.inputs)
        kept = learner.learner.adapt(support, target)(episode.query.inputs)
    assert torch.equal(answers, kept)


def test_batches_of_other_classes_are_refused() -> None:
    with pytest.raises(UnsupportedTaskError, match="3 classes apart, and this batch is of 2"):
        pretraining("linear").loss(batch(n_classes=2))


def test_an_encoder_without_weights_cannot_be_trained() -> None:
    assert pretraining("linear").traits.trainable
    assert not pretraining("linear", encoder="pixels").traits.trainable


def test_cosines_are_of_length_nothing_and_scaled() -> None:
    torch.manual_seed(0)
    layer = CosineClassifier(5, 4)
    embeddings = torch.randn(2, 3, 5)
    logits = layer(embeddings)
    assert logits.shape == (2, 3, 4)
    torch.testing.assert_close(layer(7 * embeddings), logits)
    assert float(logits.detach().abs().max()) <= 10 + 1e-5
    layer.log_scale.data.fill_(math.log(20))
    torch.testing.assert_close(layer(embeddings), 2 * logits)
