"""Fine-tuning against torch's own optimiser, from one start and from nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medmeta.learners.baselines.fine_tuning import FineTuning, FineTuningConfig, fresh_weights
from medmeta.learners.gradient.reptile import mini_batches
from tests.learners.gradient.tiny_tasks import TARGET, episode, network, task


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
