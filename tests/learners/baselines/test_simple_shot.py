"""SimpleShot by hand, beside Prototypical Networks and beside easyfsl."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learners import build_head, build_learner
from medmeta.learners.baselines.simple_shot import SimpleShotConfig, SimpleShotHead
from medmeta.learners.metric.prototypical import PrototypicalConfig, PrototypicalHead
from tests.learners.easyfsl_methods import answers_of, easyfsl_method

TARGET = Target("classes", 3)
LABELS = torch.tensor([[0, 1, 2, 0, 1, 2]])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + 2.0


def labelled(images: Tensor) -> LabelledSet:
    return LabelledSet(images, LABELS.expand(len(images), -1), torch.zeros(len(images)))


SUPPORT, QUERIES = labelled(normal(2, 6, 5)), normal(2, 4, 5, seed=1)


def head(**options: object) -> SimpleShotHead:
    return SimpleShotHead(SimpleShotConfig.model_validate(options), 5)


def test_untouched_embeddings_are_prototypical_networks() -> None:
    plain = head(centre="none", normalise=False).adapt(SUPPORT, TARGET)(QUERIES)
    prototypical = PrototypicalHead(PrototypicalConfig()).adapt(SUPPORT, TARGET)(QUERIES)
    torch.testing.assert_close(plain, prototypical)


@pytest.mark.parametrize("centre", ["none", "support", "base"])
def test_the_plain_slow_way(centre: str) -> None:
    mine = head(centre=centre)
    if centre == "base":
        mine.features.set_base_mean(normal(7, 5, seed=3))
    found = mine.adapt(SUPPORT, TARGET)(QUERIES)
    for t in range(2):
        images, middle = SUPPORT.inputs[t], torch.zeros(5)
        if centre == "support":
            middle = images.mean(0)
        if centre == "base":
            middle = normal(7, 5, seed=3).mean(0)
        unit = [(x - middle) / (x - middle).norm() for x in images]
        for q, query in enumerate(QUERIES[t]):
            asked = (query - middle) / (query - middle).norm()
            for k in range(3):
                centroid = (unit[k] + unit[k + 3]) / 2
                wanted = -10 * (asked - centroid).square().sum()
                torch.testing.assert_close(found[t, q, k], wanted, rtol=1e-4, atol=1e-4)


def test_centring_tells_apart_what_lies_in_one_direction() -> None:
    """Far from the origin two unit vectors nearly agree; once centred they do not."""
    images = torch.tensor([[[100.0, 1.0], [100.0, -1.0]]])
    support = LabelledSet(images, torch.tensor([[0, 1]]), torch.zeros(1))
    query = torch.tensor([[[100.0, 0.5]]])
    sure = {
        centre: head_of_two(centre).adapt(support, Target("classes", 2))(query).softmax(-1)[0, 0, 0]
        for centre in ("none", "support")
    }
    assert sure["none"] == pytest.approx(0.5, abs=0.01)
    assert sure["support"] > 0.99


def head_of_two(centre: str) -> SimpleShotHead:
    return SimpleShotHead(SimpleShotConfig.model_validate({"centre": centre}), 2)


def test_the_scale_changes_how_sure_it_is_only() -> None:
    one = head(scale=1.0).adapt(SUPPORT, TARGET)(QUERIES)
    ten = head(scale=10.0).adapt(SUPPORT, TARGET)(QUERIES)
    torch.testing.assert_close(10 * one, ten)


def test_the_base_mean_is_kept_up_in_training_alone() -> None:
    torch.manual_seed(0)
    config = {"encoder": {"options": {"width": 4}}}
    learner = build_learner("simple_shot", config, InputSpec(1, (16, 16)), TARGET)
    images = torch.rand(2, 6, 1, 16, 16)
    episode = Episode(labelled(images), labelled(images), TARGET)
    mean = learner.get_submodule("head.features").get_buffer("base_mean")
    learner.eval().loss(episode)
    assert mean.abs().max() == 0
    learner.train().loss(episode).mean().backward()
    torch.testing.assert_close(mean, learner.encode(images).flatten(0, 1).mean(0).detach())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in learner.parameters())


def test_it_is_a_head_for_any_encoder() -> None:
    assert build_head("simple_shot", None, InputSpec(5, ()), TARGET).traits.trainable is False


@pytest.mark.filterwarnings("ignore")
def test_easyfsl_ranks_the_same_at_one_shot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cosines there, squared distances of unit vectors here: 2 - 2 cos."""
    theirs = easyfsl_method("SimpleShot", monkeypatch)()
    support = LabelledSet(SUPPORT.inputs[:1, :3], LABELS[:, :3], torch.zeros(1))
    found = head(centre="none", scale=1.0).adapt(support, TARGET)(QUERIES[:1])[0]
    cosine = answers_of(theirs, support.inputs[0], LABELS[0, :3], QUERIES[0])
    torch.testing.assert_close(found, 2 * cosine - 2, rtol=1e-4, atol=1e-5)
    wanted = F.normalize(QUERIES[0], dim=1) @ F.normalize(support.inputs[0], dim=1).T
    torch.testing.assert_close(cosine, wanted)
