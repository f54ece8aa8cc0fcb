"""Fine-tuning against torch's own optimiser, from one start and from nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

from medmeta.encoders import EncoderConfig, build_encoder
from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.errors import SettingsError
from medmeta.learners import LEARNERS, build_learner
from medmeta.learners.baselines.fine_tuning import FineTuning, FineTuningConfig, fresh_weights
from medmeta.learners.gradient.reptile import mini_batches
from tests.learners.gradient.tiny_tasks import TARGET, episode, network, task

SPEC = InputSpec(1, (16, 16))


def learner(**options: object) -> FineTuning:
    config = FineTuningConfig.model_validate({"test_steps": 12, "rate": 0.1, **options})
    return FineTuning(network(), config, target=TARGET, max_way=3, input_kind="vector").eval()


@pytest.mark.parametrize("initial", ["learned", "fresh"])
@pytest.mark.parametrize("batch", [None, 4])
def test_torch_s_optimiser_ends_there_too(initial: str, batch: int | None) -> None:
    tasks, mine = episode(), learner(initial=initial, batch=batch)
    found = mine.adapt(tasks.support, TARGET)(tasks.query.inputs)
    order = mini_batches(tasks.support, 12, batch)
    for t in range(2):
        images, labels = task(tasks.support, t)
        net = network()
        if initial == "fresh":
            net.load_state_dict(fresh_weights(net.state_dict(), int(tasks.support.task_ids[t])))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for chosen in order[t]:
            optimiser.zero_grad()
            F.cross_entropy(net(images[chosen]), labels[chosen]).backward()
            optimiser.step()
        torch.testing.assert_close(found[t], net(task(tasks.query, t)[0]).detach())


def test_fresh_weights_are_not_normalised_by_the_statistics_of_a_training() -> None:
    options = {"initial": "fresh", "test_steps": 1, "encoder": {"norm": "running"}}
    made = build_learner("fine_tuning", options, SPEC, Target("classes", 2)).eval()
    images, asked = torch.randn(2, 1, 4, 1, 16, 16)
    support = LabelledSet(images, torch.tensor([[0, 1, 0, 1]]), torch.ones(1))
    before = made.adapt(support, Target("classes", 2))(asked)
    for name, held in made.named_buffers():
        if name.endswith("running_mean"):
            held += 0.5
    torch.testing.assert_close(made.adapt(support, Target("classes", 2))(asked), before)
    assert all((b == 0.5).all() for n, b in made.named_buffers() if n.endswith("running_mean"))


def test_fresh_weights_do_not_know_the_network_s_own() -> None:
    tasks, first, other = episode(), learner(initial="fresh"), learner(initial="fresh")
    other.network.load_state_dict(network(seed=5).state_dict())
    answers = [x.adapt(tasks.support, TARGET)(tasks.query.inputs) for x in (first, other)]
    torch.testing.assert_close(answers[0], answers[1])


def test_fresh_weights_are_each_task_s_own_and_as_large_as_torch_s() -> None:
    like = {"a.weight": torch.zeros(50, 16), "n.weight": torch.zeros(3), "a.bias": torch.ones(3)}
    one, two = fresh_weights(like, 1), fresh_weights(like, 2)
    assert not torch.equal(one["a.weight"], two["a.weight"])
    assert 0.24 < one["a.weight"].abs().max() <= 0.25
    assert one["n.weight"].tolist() == [1.0] * 3
    assert one["a.bias"].tolist() == [0.0] * 3


def test_no_step_is_the_network_itself() -> None:
    tasks, mine = episode(), learner(test_steps=0)
    found = mine.adapt(tasks.support, TARGET)(tasks.query.inputs)
    torch.testing.assert_close(found, mine.network(tasks.query.inputs).detach())


def test_a_trained_encoder_s_statistics_stay_as_they_are() -> None:
    config = FineTuningConfig(test_steps=3, rate=0.1)
    encoder = build_encoder(EncoderConfig(options={"width": 8}), SPEC, norm="running")
    mine = LEARNERS["fine_tuning"].build(config, encoder, SPEC, TARGET)
    images = torch.rand(1, 6, 1, 16, 16)
    before = {name: value.clone() for name, value in mine.named_buffers()}
    support = LabelledSet(images, torch.tensor([[0, 1, 2, 0, 1, 2]]), torch.tensor([1]))
    together = mine.train().adapt(support, TARGET)(images)
    for name, value in mine.named_buffers():
        torch.testing.assert_close(value, before[name])
    alone = mine.adapt(support, TARGET)(images[:, :1])
    torch.testing.assert_close(together[:, :1], alone)


def test_others_that_adapt_networks_still_refuse_running_statistics() -> None:
    encoder = build_encoder(EncoderConfig(options={"width": 8}), SPEC, norm="running")
    with pytest.raises(SettingsError, match="running statistics"):
        LEARNERS["maml"].build(LEARNERS["maml"].config(), encoder, SPEC, TARGET)


def test_a_probe_is_logistic_regression_that_is_not_penalised() -> None:
    """Classes overlap, so that the least loss is at finite weights, which scikit-learn finds."""
    chance = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    points = chance.normal(size=(60, 4)) + 0.8 * np.eye(4)[labels]
    layer = nn.Linear(4, 3)
    config = FineTuningConfig(test_steps=0, probe_steps=4000)
    mine = FineTuning(nn.Sequential(nn.Identity(), layer), config, target=TARGET, max_way=3,
                      input_kind="vector")  # fmt: skip
    inputs = torch.from_numpy(points).float()[None]
    support = LabelledSet(inputs, torch.from_numpy(labels)[None], torch.tensor([0]))
    found = mine.adapt(support, TARGET)(inputs)[0].softmax(-1)
    other = LogisticRegression(C=1e6, tol=1e-8, max_iter=10_000).fit(points, labels)
    np.testing.assert_allclose(found.numpy(), other.predict_proba(points), atol=2e-3)
